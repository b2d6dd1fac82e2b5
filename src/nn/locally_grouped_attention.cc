#include "nn/locally_grouped_attention.h"

#include <algorithm>

#include "core/error.h"
#include "ops/elementwise.h"

namespace locant {

LocallyGroupedAttention::LocallyGroupedAttention(const Weights& w, const Options& options)
    : options_(options), path_(w.path()), maps_(std::make_shared<WindowMaps>()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("locally_grouped_attention", H, C);
  const auto [shorter, longer] = std::minmax(options.window.rows, options.window.columns);
  require(shorter >= 1 && longer <= 1024, "locally_grouped_attention",
          "a window of {} x {}; sides of 1 to 1024 were expected", options.window.rows,
          options.window.columns);
  qkv_ = Linear(w / "qkv", C, 3 * C, {.bias = options.qkv_bias});
  proj_ = Linear(w / "proj", C, C);
}

Var LocallyGroupedAttention::operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip) const {
  require(x.shape().rank() == 3 && grid.frames == 1 && x.dim(1) == grid.tokens(), "locally_grouped_attention",
          "x of shape {} does not hold {} x {} tokens", x.shape().str(), grid.rows, grid.columns);
  const WindowLayout layout{.rows = grid.rows, .columns = grid.columns, .window = options_.window};
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  options.rows = maps_->rows(layout);
  if (layout.pads() && options_.qkv_bias) options.pad_bias = qkv_.bias();
  options.zero_pad = layout.pads() && !options_.qkv_bias;
  const Var qkv = qkv_(ctx, x);
  if (ctx.probe != nullptr)
    ctx.show([&] { return join_path(path_, "qkv"); },
             Var(window_order(qkv.value(), *options.rows)
                     .reshaped({x.dim(0), layout.padded_rows() / options_.window.rows,
                                layout.padded_columns() / options_.window.columns, options_.window.rows,
                                options_.window.columns, qkv.dim(2)})));
  const Var attended = attention(ctx, qkv, options);
  if (ctx.probe == nullptr) return proj_(ctx, attended, Activation::none, skip);
  const Var out = proj_(ctx, attended);
  ctx.show([&] { return join_path(path_, "proj"); }, out);
  return skip.defined() ? add(ctx, out, skip) : out;
}

}  // namespace locant
