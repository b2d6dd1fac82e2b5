#include "position/dense_bias.h"

#include "position/catalogue/all.h"
#include "position/catalogue/picture.h"
#include "position/catalogue/score_instance.h"

namespace locant {
namespace dense_bias_encoding {
namespace {

Shape shape_of(const EncodingCase& c) {
  if (c.variant == "shared") return {c.Nq(), c.Nk()};
  if (c.variant == "batch") return {c.B, 1, c.H, c.Nq(), c.Nk()};
  if (c.variant == "keys") return {c.B, 1, 1, 1, c.Nk()};
  return {c.H, c.Nq(), c.Nk()};
}

EncodingInstance instance(const EncodingCase& c) {
  const DenseBias dense{random_parameter(shape_of(c), c.seed)};
  return score_instance(
      c, {{DenseBias::kBias, dense.bias}},
      [c, dense](const Context&, AttentionOptions& options) {
        options.terms = {dense_bias_term(dense, c.B, c.H, c.Nq(), c.Nk())};
      },
      [c](const PlainCall& call, auto b, auto h, auto i, auto j) {
        const bool by_head = c.variant != "shared" && c.variant != "keys";
        const bool by_batch = c.variant == "batch" || c.variant == "keys";
        const std::int64_t extent[4] = {by_batch ? c.B : 1, by_head ? c.H : 1,
                                        c.variant == "keys" ? 1 : c.Nq(), c.Nk()};
        return dense_bias_score(call.score(b, h, i, j), call.x[3].data(), extent, b, h, i, j);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  const auto add = [&](std::int64_t Nq, std::int64_t Nk, const char* variant) {
    out.push_back({.B = Nq * Nk > 30 ? 1 : 2, .query = {1, 1, Nq}, .key = {1, 1, Nk}, .variant = variant});
  };
  add(1, 1, ""), add(2, 2, ""), add(7, 7, ""), add(5, 9, ""), add(6, 6, "shared"), add(5, 4, "batch");
  add(4, 7, "keys");
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {1, 2, 2}, .key = {1, 2, 3}, .prefix = 1});
  return out;
}

// The numbers of the first sample's first head.
Tensor picture(const EncodingCase& c) {
  const Tensor bias = instance(c).parameters[0].second.value();
  return panels(1, 1, c.Nq(), c.Nk(), [&](std::int64_t, std::int64_t i, std::int64_t j) {
    return bias[(c.variant == "keys" ? 0 : i * c.Nk()) + j];
  });
}

}  // namespace
}  // namespace dense_bias_encoding

const Encoding kDenseBias = {
    .name = "dense_bias",
    .title = "a number for every pair, the user's own",
    .place = EncodingPlace::score,
    .paper = "any",
    .models = "Graphormer, AlphaFold",
    .formula = "s = q.k / sqrt(D) + bias[b, h, i, j]",
    .lowering = "dense term",
    .parameters = "H N^2",
    .multiply_adds = "0",
    .memory = "H N^2",
    .growth = MemoryGrowth::quadratic,
    .prefix = true,
    .variants = {"shared", "batch", "keys"},
    .cases = dense_bias_encoding::cases,
    .instance = dense_bias_encoding::instance,
    .picture = dense_bias_encoding::picture,
};

}  // namespace locant
