#include "models/sequence_input.h"

#include "core/error.h"
#include "models/parts.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

SequenceEmbedding::SequenceEmbedding(const Weights& w, std::string_view op, const SequenceInput& input,
                                     std::int64_t width)
    : input_(input), width_(width) {
  require(input.vocab_size == 0 || input.in_chans == 0, op,
          "vocab_size {} and in_chans {}: a sequence is of ids or of frames", input.vocab_size,
          input.in_chans);
  if (input.vocab_size > 0) table_ = w.get("embedding.weight", {input.vocab_size, width}, Init::normal(1.0f));
  if (input.in_chans > 0)
    projection_ =
        Linear(w / "input", input.in_chans, width,
               {.weight_init = Init::fan_in(input.in_chans), .bias_init = Init::fan_in(input.in_chans)});
}

Port SequenceEmbedding::port() const {
  if (input_.vocab_size > 0) return {"ids", "B N", "tokens", Port::Kind::ids};
  return {"input", "B N C", "frames"};
}

Var SequenceEmbedding::operator()(const Context& ctx, std::string_view op, const Values& in) const {
  if (input_.vocab_size > 0) {
    const Var& ids = in.at("ids");
    return reshape(ctx, gather_rows(ctx, table_, token_rows(op, ids, input_.vocab_size)),
                   {ids.dim(0), ids.dim(1), width_});
  }
  const Var& x = in.at("input");
  const std::int64_t width = input_.in_chans > 0 ? input_.in_chans : width_;
  require(x.dim(2) == width && x.dim(1) >= 1, op, "input of shape {}; it must be (B, N, {})", x.shape().str(),
          width);
  return projection_.defined() ? projection_(ctx, x) : x;
}

std::vector<std::int64_t> lengths_of(const Values& in) {
  std::vector<std::int64_t> out;
  if (const Var lengths = in.get("lengths"); lengths.defined())
    for (const float n : lengths.value().values()) out.push_back(static_cast<std::int64_t>(n));
  return out;
}

}  // namespace locant
