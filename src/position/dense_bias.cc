#include "position/dense_bias.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "position/picture.h"
#include "position/score_instance.h"

namespace locant {
namespace {

constexpr const char* kName = "dense_bias";

// Throws Error on NaN and +inf. A number for every pair is read here on every call: no branch a number.
void check_numbers(const Tensor& bias) {
  const float* x = bias.data();
  std::atomic<bool> fine = true;
  parallel_for(bias.numel(), 1 << 16, [&](std::int64_t begin, std::int64_t end) {
    int odd = 0;
    for (std::int64_t n = begin; n < end; ++n) odd |= x[n] < HUGE_VALF ? 0 : 1;  // NaN is not below either
    if (odd != 0) fine = false;
  });
  if (fine) return;
  const auto found = std::find_if(bias.values().begin(), bias.values().end(),
                                  [](float number) { return !(number < HUGE_VALF); });
  fail(kName, "the bias of shape {} holds {}", bias.shape().str(), *found);
}

}  // namespace

AttentionTerm dense_bias_term(const DenseBias& dense, std::int64_t B, std::int64_t heads, std::int64_t Nq,
                              std::int64_t Nk) {
  const Shape full{B, 1, heads, Nq, Nk};
  require(dense.bias.defined(), kName, "the bias is missing; numbers that spread over {} were expected",
          full.str());
  const Shape& shape = dense.bias.shape();
  const int rank = shape.rank();
  bool fits = rank == 2 || rank == 3 || rank == 5;
  for (int axis = 0; fits && axis < rank; ++axis) {
    const std::int64_t extent = shape[axis], whole = full[axis + 5 - rank];
    fits = extent == whole || (extent == 1 && axis + 1 < rank);
  }
  if (!fits)
    fail(kName,
         "a bias of shape {} does not spread over {}; (Nq, Nk), (H, Nq, Nk) and (B, 1, H, Nq, Nk) do, with "
         "extents of 1 shared but for the last",
         shape.str(), full.str());
  check_numbers(dense.bias.value());
  return dense_term(dense.bias);
}

namespace {

Shape shape_of(const EncodingCase& c) {
  if (c.variant.empty()) return {c.H, c.Nq(), c.Nk()};
  if (c.variant == "shared") return {c.Nq(), c.Nk()};
  if (c.variant == "batch") return {c.B, 1, c.H, c.Nq(), c.Nk()};
  if (c.variant == "keys") return {c.B, 1, 1, 1, c.Nk()};
  fail(kName, "unknown variant \"{}\"; there are shared, batch, keys", c.variant);
}

EncodingInstance instance(const EncodingCase& c) {
  const DenseBias dense{random_parameter(shape_of(c), c.seed)};
  return score_instance(
      c, {{DenseBias::kBias, dense.bias}},
      [c, dense](const Context&, AttentionOptions& options) {
        options.terms = {dense_bias_term(dense, c.B, c.H, c.Nq(), c.Nk())};
      },
      [c](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        const bool by_head = c.variant != "shared" && c.variant != "keys";
        const bool by_batch = c.variant == "batch" || c.variant == "keys";
        const std::int64_t extent[4] = {by_batch ? c.B : 1, by_head ? c.H : 1,
                                        c.variant == "keys" ? 1 : c.Nq(), c.Nk()};
        return dense_bias_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(c.D)), x[3].data(),
                                extent, b, h, i, j);
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

const Encoding kDenseBias = {
    .name = kName,
    .header = "position/dense_bias.h",
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
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant
