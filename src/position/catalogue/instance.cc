#include "position/catalogue/instance.h"

#include "core/rng.h"

namespace locant {

Var random_parameter(const Shape& shape, std::uint64_t seed, float scale, float offset) {
  Tensor out(shape);
  Rng rng(seed);
  for (float& x : out.values()) x = offset + scale * (2.0f * rng.uniform() - 1.0f);
  return Var(std::move(out), true);
}

EncodingInstance attention_instance(const EncodingCase& c, Parameters parameters,
                                    std::function<void(const Context&, AttentionCall&)> lower,
                                    std::function<Complexes(const PlainCall&)> reference) {
  EncodingInstance out;
  out.parameters = std::move(parameters);
  out.run = [c, lower = std::move(lower)](const Context& ctx, const Var& q, const Var& k, const Var& v,
                                          AttentionPath path) {
    AttentionCall call{q, k, v, {}};
    call.options.heads = c.H;
    lower(ctx, call);
    return run_attention(ctx, call.q, call.k, call.v, call.options, path);
  };
  out.reference = [c, reference = std::move(reference)](const std::vector<Complexes>& x) {
    return reference({c, x});
  };
  return out;
}

std::vector<EncodingCase> sequence_cases(const std::vector<SequenceSize>& sizes) {
  std::vector<EncodingCase> out;
  for (const SequenceSize& s : sizes)
    out.push_back({.B = 2, .query = {1, 1, s.Nq}, .key = {1, 1, s.Nk}, .variant = s.variant});
  return out;
}

std::vector<EncodingCase> grid_cases(const std::vector<GridSize>& sizes) {
  std::vector<EncodingCase> out;
  for (const auto& [rows, columns, variant] : sizes)
    out.push_back({.query = {1, rows, columns}, .key = {1, rows, columns}, .variant = variant});
  return out;
}

}  // namespace locant
