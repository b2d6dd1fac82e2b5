#include "nn/spatial_reduction_attention.h"

#include "core/error.h"
#include "nn/conv_layers.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "ops/pool2d.h"
#include "ops/rearrange.h"

namespace locant {

SpatialReductionAttention::SpatialReductionAttention(const Weights& w, const Options& options)
    : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads, R = options.ratio;
  require_heads("spatial_reduction_attention", H, C);
  require(R >= 1, "spatial_reduction_attention", "a reduction by {}; it must be 1 or more", R);
  require(options.pool >= 0 && (options.pool == 0 || R == 1), "spatial_reduction_attention",
          "a pool of {} with a reduction by {}; it is one or the other", options.pool, R);
  q_ = Linear(w / "q", C, C, {.bias = options.qkv_bias});
  kv_ = Linear(w / "kv", C, 2 * C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", C, C);
  if (R == 1 && options.pool == 0) return;
  const Init init = Init::fan_in(C * R * R);
  const Shape shape{C, C, R, R};
  const Init weight = options.sr_init.value_or(init), bias = options.sr_init ? Init::zeros() : init;
  if (w.mode() == WeightMode::inference) {
    PackedSource source(w / "sr", shape, weight, bias);
    source.weight = permute({}, Var(source.weight), {0, 2, 3, 1}).value();
    sr_.packed = source.linear();
    sr_.ratio = R;
  } else {
    sr_.weight = w.get(SpatialReduction::kWeight, shape, weight);
    sr_.bias = w.get(SpatialReduction::kBias, {C}, bias);
  }
  sr_.norm_weight = w.get(SpatialReduction::kNormWeight, {C}, Init::ones());
  sr_.norm_bias = w.get(SpatialReduction::kNormBias, {C}, Init::zeros());
  sr_.eps = options.norm_eps;
}

void SpatialReductionAttention::show(const Context& ctx, const char* name, const Var& value) const {
  ctx.show([&] { return join_path(path_, name); }, value);
}

Var SpatialReductionAttention::reduced(const Context& ctx, const Var& x, Grid grid) const {
  const std::int64_t pool = options_.pool;
  if (pool == 0 && options_.ratio == 1) return x;
  Var cells = x;
  if (pool > 0) {
    cells = on_grid(ctx, "spatial_reduction_attention", x, grid, 0,
                    [&](const Var& images) { return adaptive_average_pool2d(ctx, images, pool, pool); });
    grid = {1, pool, pool};
  }
  Var conv;
  if (sr_.packed.defined()) {
    conv = reduced_by_product(sr_, cells, grid);
    const Grid after = reduced_grid(grid, sr_.ratio);
    if (ctx.probe != nullptr) show(ctx, "sr", tokens_to_images({}, conv, after.rows, after.columns));
  } else {
    conv = reduced_images(ctx, sr_, cells, grid);
    show(ctx, "sr", conv);
  }
  const Var keys = reduced_tokens(ctx, sr_, conv);
  show(ctx, "norm", keys);
  return pool > 0 ? gelu(ctx, keys) : keys;
}

Var SpatialReductionAttention::operator()(const Context& ctx, const Var& x, Grid grid,
                                          const Var& skip) const {
  const Var q = q_(ctx, x);
  show(ctx, "q", q);
  const Var kv = kv_(ctx, reduced(ctx, x, grid));
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
