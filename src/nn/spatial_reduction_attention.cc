#include "nn/spatial_reduction_attention.h"

#include "core/error.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "ops/rearrange.h"

namespace locant {

SpatialReductionAttention::SpatialReductionAttention(const Weights& w, const Options& options)
    : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads, R = options.ratio;
  require_heads("spatial_reduction_attention", H, C);
  require(R >= 1, "spatial_reduction_attention", "a reduction by {}; it must be 1 or more", R);
  q_ = Linear(w / "q", C, C, {.bias = options.qkv_bias});
  kv_ = Linear(w / "kv", C, 2 * C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", C, C);
  if (R == 1) return;
  const Init init = Init::fan_in(C * R * R);
  sr_ = {w.get(SpatialReduction::kWeight, {C, C, R, R}, options.sr_init.value_or(init)),
         w.get(SpatialReduction::kBias, {C}, options.sr_init ? Init::zeros() : init),
         w.get(SpatialReduction::kNormWeight, {C}, Init::ones()),
         w.get(SpatialReduction::kNormBias, {C}, Init::zeros()), options.norm_eps};
}

void SpatialReductionAttention::show(const Context& ctx, const char* name, const Var& value) const {
  ctx.show([&] { return join_path(path_, name); }, value);
}

Var SpatialReductionAttention::operator()(const Context& ctx, const Var& x, Grid grid,
                                          const Var& skip) const {
  const Var q = q_(ctx, x);
  show(ctx, "q", q);
  Var keys = x;
  if (options_.ratio > 1) {
    const Var images = reduced_images(ctx, sr_, x, grid);
    show(ctx, "sr", images);
    keys = reduced_tokens(ctx, sr_, images);
    show(ctx, "norm", keys);
  }
  const Var kv = kv_(ctx, keys);
  show(ctx, "kv", kv);
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  const Var attended = attention(ctx, q, slice_axis(ctx, kv, 2, 0, options_.width),
                                 slice_axis(ctx, kv, 2, options_.width, 2 * options_.width), options);
  if (ctx.probe == nullptr) return proj_(ctx, attended, Activation::none, skip);
  const Var out = proj_(ctx, attended);
  show(ctx, "proj", out);
  ctx.show([&] { return path_; }, out);
  return skip.defined() ? add(ctx, out, skip) : out;
}

}  // namespace locant
