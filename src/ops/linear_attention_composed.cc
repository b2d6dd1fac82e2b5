#include <cmath>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/linear_attention.h"
#include "ops/product.h"
#include "ops/rearrange.h"

namespace locant {
namespace {

void check_features(const char* what, const Var& f, const Var& g, const Var& v, std::int64_t H) {
  const bool fit = f.defined() && g.defined() && f.shape().rank() == 3 && g.shape().rank() == 3 &&
                   v.shape().rank() == 3 && f.dim(0) == v.dim(0) && g.dim(0) == v.dim(0) &&
                   g.dim(1) == v.dim(1) && f.dim(2) == g.dim(2) && f.dim(2) % H == 0 && f.dim(2) > 0;
  if (!fit)
    fail("linear_attention",
         "{} queries of shape {} and keys of {} with values of {}: (B, Nq, H M), (B, Nk, H M), (B, Nk, H Dv) "
         "were expected for {} heads",
         what, f.defined() ? f.shape().str() : "none", g.defined() ? g.shape().str() : "none",
         v.shape().str(), H);
}

// (B, N, H W) -> (B, H, N, W).
Var heads_first(const Context& ctx, const Var& x, std::int64_t H) {
  return permute(ctx, reshape(ctx, x, {x.dim(0), x.dim(1), H, x.dim(2) / H}), {0, 2, 1, 3});
}

// What a pair's product is multiplied with, (B, H, Nq, Nk).
Tensor pair_weights(std::int64_t B, std::int64_t Nq, std::int64_t Nk, const LinearAttentionOptions& options) {
  Tensor out({B, options.heads, Nq, Nk});
  for (std::int64_t x = 0; x < out.numel(); ++x) {
    const std::int64_t j = x % Nk, i = x / Nk % Nq, h = x / (Nk * Nq) % options.heads,
                       b = x / (Nk * Nq * options.heads);
    const bool seen = (!options.causal || j <= i) &&
                      (options.key_lengths.empty() || j < options.key_lengths[static_cast<std::size_t>(b)]);
    const float decay = options.decay.empty() ? 0.0f : options.decay[static_cast<std::size_t>(h)];
    out[x] = seen ? std::exp(-decay * static_cast<float>(std::max<std::int64_t>(0, i - j))) : 0.0f;
  }
  return out;
}

// x (.., W) / den (.., 1), zeros where den is 0.
Var divide_rows(const Context& ctx, const Var& x, const Var& den) {
  const std::int64_t W = x.dim(-1);
  Tensor out(x.shape());
  for (std::int64_t n = 0; n < out.numel(); ++n) {
    const float d = den.value()[n / W];
    out[n] = d == 0.0f ? 0.0f : x.value()[n] / d;
  }
  return ctx.record({x, den}, out, [x, den, out, W](const Tensor& dy) {
    Tensor dx(x.shape()), dden = Tensor::zeros(den.shape());
    for (std::int64_t n = 0; n < dx.numel(); ++n) {
      const float d = den.value()[n / W];
      dx[n] = d == 0.0f ? 0.0f : dy[n] / d;
      dden[n / W] -= dx[n] * out[n];
    }
    x.accumulate(std::move(dx));
    den.accumulate(std::move(dden));
  });
}

}  // namespace

void check_linear_attention(const Var& queries, const Var& keys, const Var& numerator_queries,
                            const Var& numerator_keys, const Var& v, const LinearAttentionOptions& options) {
  const std::int64_t H = options.heads;
  require(H >= 1, "linear_attention", "{} heads; there must be one or more", H);
  check_features("denominator", queries, keys, v, H);
  if (numerator_queries.defined() || numerator_keys.defined()) {
    check_features("numerator", numerator_queries, numerator_keys, v, H);
    require(numerator_queries.dim(1) == queries.dim(1), "linear_attention",
            "{} queries in the numerator, {} in the denominator", numerator_queries.dim(1), queries.dim(1));
  }
  require(v.dim(2) % H == 0 && v.dim(2) > 0, "linear_attention", "{} heads do not divide values {} wide", H,
          v.dim(2));
  const std::int64_t Nq = queries.dim(1), Nk = keys.dim(1);
  require(!options.causal || Nq == Nk, "linear_attention",
          "causal attention of {} queries on {} keys; there must be as many", Nq, Nk);
  require(options.key_lengths.empty() || static_cast<std::int64_t>(options.key_lengths.size()) == v.dim(0),
          "linear_attention", "{} key lengths for {} samples", options.key_lengths.size(), v.dim(0));
  for (const std::int64_t length : options.key_lengths)
    require(length >= 0 && length <= Nk, "linear_attention", "a key length of {} with {} keys", length, Nk);
  require(options.decay.empty() || (options.causal && static_cast<std::int64_t>(options.decay.size()) == H),
          "linear_attention",
          "{} decays for {} heads, causal {}; decay needs causal attention and one a head",
          options.decay.size(), H, options.causal);
  for (const float decay : options.decay)
    require(decay >= 0.0f && std::isfinite(decay), "linear_attention", "a decay of {}; 0 or more is needed",
            decay);
  require(options.eps >= 0.0f, "linear_attention", "an eps of {}; 0 or more is needed", options.eps);
}

Var linear_attention_composed(const Context& ctx, const Var& queries, const Var& keys,
                              const Var& numerator_queries, const Var& numerator_keys, const Var& v,
                              const LinearAttentionOptions& options) {
  check_linear_attention(queries, keys, numerator_queries, numerator_keys, v, options);
  const std::int64_t H = options.heads, B = v.dim(0), Nq = queries.dim(1);
  const Var weights(pair_weights(B, Nq, keys.dim(1), options));
  const auto pairs = [&](const Var& f, const Var& g) {
    const Var products = product(ctx, heads_first(ctx, f, H), heads_first(ctx, g, H), {.transpose_b = true});
    return multiply(ctx, products, weights);
  };
  const Var below = pairs(queries, keys);
  const Var above = numerator_queries.defined() ? pairs(numerator_queries, numerator_keys) : below;
  const Var den = affine(ctx, sum_axis(ctx, below, 3), 1.0f, options.eps);
  const Var num = product(ctx, above, heads_first(ctx, v, H));
  return reshape(ctx, permute(ctx, divide_rows(ctx, num, den), {0, 2, 1, 3}), {B, Nq, v.dim(2)});
}

}  // namespace locant
