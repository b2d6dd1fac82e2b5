#include "nn/video_swin_block.h"

#include <utility>

#include "core/error.h"
#include "ops/elementwise.h"

namespace locant {

namespace {

WindowAttention3d::Options attention_options(const VideoSwinBlock::Options& o) {
  return {.width = o.width, .heads = o.heads, .window = o.window, .qkv_bias = o.qkv_bias, .fit = o.fit};
}

}  // namespace

VideoSwinBlock::VideoSwinBlock(const Weights& w, const Options& options,
                               std::shared_ptr<const WindowMaps> maps)
    : options_(options), maps_(maps != nullptr ? std::move(maps) : std::make_shared<WindowMaps>()) {
  require(options.mlp_ratio > 0 && options.mlp_ratio < 1024, "video_swin_block",
          "an mlp_ratio of {}; it must be above 0 and below 1024", options.mlp_ratio);
  path_ = w.path();
  norm1_ = LayerNorm(w / "norm1", options.width, options.norm_eps);
  attention_ = WindowAttention3d(w / "attn", attention_options(options));
  norm2_ = LayerNorm(w / "norm2", options.width, options.norm_eps);
  mlp_ = Mlp(w / "mlp", options.width,
             static_cast<std::int64_t>(static_cast<double>(options.width) * options.mlp_ratio));
}

Var VideoSwinBlock::operator()(const Context& ctx, const Var& x, Grid grid) const {
  require(x.shape().rank() == 3 && x.dim(1) == grid.tokens(), "video_swin_block",
          "x of shape {} does not hold {}x{}x{} tokens", x.shape().str(), grid.frames, grid.rows,
          grid.columns);
  const WindowLayout3d layout = fit_windows_3d(grid, options_.window, options_.shift);
  const auto rows = maps_->rows(layout);
  const Var normed = norm1_(ctx, x);
  const Var attended = attention_(ctx, normed, attention_.gather(layout.window), rows);
  if (ctx.probe != nullptr) show_attention(ctx, normed, layout, *rows);
  const Var y = add(ctx, x, drop_path(ctx, attended, options_.drop_path));
  const Var normed_again = norm2_(ctx, y);
  ctx.show([&] { return join_path(path_, "norm2"); }, normed_again);
  const Var mixed = mlp_(ctx, normed_again);
  ctx.show([&] { return join_path(path_, "mlp"); }, mixed);
  return add(ctx, y, drop_path(ctx, mixed, options_.drop_path));
}

/// The libraries pad and cut before the attention, so that padded tokens ask too: what these get is thrown
/// away, and made here for who looks only.
void VideoSwinBlock::show_attention(const Context& ctx, const Var& normed, const WindowLayout3d& layout,
                                    const RowMaps& rows) const {
  RowMaps cut = rows;
  cut.query_rows.clear();  // tokens lie in window order already
  cut.key_rows.clear();
  const std::int64_t B = normed.dim(0), C = normed.dim(2), slots = rows.groups * rows.queries;
  const Var windows(window_order(normed.value(), rows).reshaped({B, slots, C}));
  const Var out = attention_({}, windows, attention_.gather(layout.window),
                             std::make_shared<const RowMaps>(std::move(cut)));
  ctx.show([&] { return join_path(path_, "attn"); },
           Var(out.value().reshaped({B * rows.groups, rows.queries, C})));
}

}  // namespace locant
