#include "nn/survey_sasa.h"

#include <vector>

#include "core/error.h"
#include "nn/layers.h"
#include "ops/arithmetic.h"
#include "ops/attention/attention.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

constexpr const char* kSurveySasaOp = "survey_sasa";

/// Zeros on all sides of the last two axes.
Var with_zeros(const Context& ctx, const Var& x, std::int64_t before, std::int64_t after) {
  Var y = x;
  for (const int axis : {2, 3}) {
    const auto zeros = [&](std::int64_t n) {
      return axis == 2 ? Tensor::zeros({y.dim(0), y.dim(1), n, y.dim(3)})
                       : Tensor::zeros({y.dim(0), y.dim(1), y.dim(2), n});
    };
    std::vector<Var> parts;
    if (before > 0) parts.emplace_back(zeros(before));
    parts.push_back(y);
    if (after > 0) parts.emplace_back(zeros(after));
    y = concat_axis(ctx, parts, axis);
  }
  return y;
}

/// The K x K places from each on: (B, C, H + K - 1, W + K - 1) -> (B, C, H, W, K K).
Var windows(const Context& ctx, const Var& map, std::int64_t H, std::int64_t W, std::int64_t K) {
  const std::int64_t B = map.dim(0), C = map.dim(1);
  std::vector<Var> places;
  for (std::int64_t u = 0; u < K; ++u) {
    const Var rows = slice_axis(ctx, map, 2, u, u + H);
    for (std::int64_t v = 0; v < K; ++v)
      places.push_back(reshape(ctx, slice_axis(ctx, rows, 3, v, v + W), {B, C, H, W, 1}));
  }
  return concat_axis(ctx, places, 4);
}

}  // namespace

SurveySasa::SurveySasa(const Weights& w, const Options& o) : options_(o) {
  require_heads(kSurveySasaOp, o.heads, o.out);
  require(o.in >= 1 && o.out >= 2 && o.out % 2 == 0 && o.kernel >= 1 && o.kernel <= 31, kSurveySasaOp,
          "{} channels from {} in a window of {}; an even number and a window of 1 to 31 were expected",
          o.out, o.in, o.kernel);
  rows_ = w.get("rel_encoding_h", {o.out / 2, o.kernel, 1}, Init::normal(1.0f), {.decay = false});
  columns_ = w.get("rel_encoding_w", {o.out / 2, 1, o.kernel}, Init::normal(1.0f), {.decay = false});
  const Conv2d::Options pointwise = Conv2d::square(1, 1, 0);
  key_ = Conv2d(w / "k_conv", o.in, o.out, pointwise);
  query_ = Conv2d(w / "q_conv", o.in, o.out, pointwise);
  value_ = Conv2d(w / "v_conv", o.in, o.out, pointwise);
}

Var SurveySasa::operator()(const Context& ctx, const Var& x) const {
  require_images(kSurveySasaOp, x, options_.in);
  const Shape& shape = x.shape();
  const std::int64_t H = shape[2], W = shape[3], K = options_.kernel, D = options_.out / options_.heads;
  const std::int64_t groups = shape[0] * options_.heads * H * W, before = (K - 1) / 2;
  const Var around = with_zeros(ctx, x, before, K - 1 - before);
  const auto scrambled = [&](const Conv2d& conv) {  // (groups, K K, D)
    const Var map = windows(ctx, conv(ctx, around), H, W, K);
    return permute(ctx, reshape(ctx, map, {groups, D, K * K}), {0, 2, 1});
  };
  const Var e = sum_axis(ctx, add_broadcast(ctx, rows_, columns_), 0);  // (1, K, K)
  const Var k = add_broadcast(ctx, scrambled(key_), reshape(ctx, e, {1, K * K, 1}));
  const Var q = reshape(ctx, query_(ctx, x), {groups, 1, D});
  AttentionOptions options;
  options.heads = 1;
  options.scale = 1.0f;
  return reshape(ctx, attention(ctx, q, k, scrambled(value_), options), {shape[0], options_.out, H, W});
}

}  // namespace locant
