#include "core/error.h"
#include "nn/video_swin_block.h"
#include "ops/layout.h"
#include "verify/layers.h"

namespace locant {

namespace {

Grid grid_of(const LayerArgs& args, const std::string& key) {
  const std::vector<std::int64_t> sides = args.integers(key, 3);
  return {sides[0], sides[1], sides[2]};
}

bool equal(Grid a, Grid b) { return a.frames == b.frames && a.rows == b.rows && a.columns == b.columns; }

void require_windows(const Var& x, std::int64_t windows) {
  require(x.shape().rank() == 3 && x.dim(0) == windows, "verify", "{} windows in an input of shape {}",
          windows, x.shape().str());
}

// Windows of the batch x as groups, so that the mask of each can differ: regions of a shifted grid.
std::shared_ptr<const RowMaps> mask_of(const WindowLayout3d& l, const Var& x) {
  const std::int64_t tokens = l.grid.tokens();
  require(tokens >= 1 && l.padded().tokens() == tokens && x.dim(1) == l.window.tokens() &&
              x.dim(0) * x.dim(1) % tokens == 0,
          "verify", "an input of shape {} does not hold the windows of {}x{}x{} tokens for the mask",
          x.shape().str(), l.grid.frames, l.grid.rows, l.grid.columns);
  RowMaps rows = make_window_rows_3d(l);
  rows.query_rows.clear();
  rows.key_rows.clear();
  return std::make_shared<const RowMaps>(std::move(rows));
}

OracleLayer window_attention_3d(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NLC");
  WindowAttention3d::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.window = grid_of(args, "window");
  options.qkv_bias = args.choice("qkv_bias", {"full", "none"}) == "full";
  require_hiding_mask(args);
  WindowLayout3d masked{{}, options.window};
  const bool hides = args.has("mask_grid");
  if (hides) masked.grid = grid_of(args, "mask_grid"), masked.shift = grid_of(args, "mask_shift");
  const WindowAttention3d layer(w, options);
  const auto gather = layer.gather(args.integer("tokens"));
  return [layer, windows = args.integer("batch_windows"), hides, masked, gather](const Context& ctx,
                                                                                 const std::vector<Var>& in) {
    require_windows(input_at(in, 0), windows);
    const Var x = in[0];
    if (!hides) return std::vector<Var>{layer(ctx, x, gather)};
    const auto rows = mask_of(masked, x);
    const Var grouped = reshape(ctx, x, {x.dim(0) / rows->groups, rows->groups * rows->queries, x.dim(2)});
    return std::vector<Var>{reshape(ctx, layer(ctx, grouped, gather, rows), x.shape())};
  };
}

OracleLayer video_swin_block(const LayerArgs& args, const Weights& w) {
  args.only("layout", "NDHWC");
  args.only("act", "gelu");
  require_hiding_mask(args);
  VideoSwinBlock::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.window = grid_of(args, "window");
  options.shift = grid_of(args, "shift");
  options.mlp_ratio = args.number("mlp_ratio");
  options.norm_eps = static_cast<float>(args.number("norm_eps"));
  options.qkv_bias = args.choice("qkv_bias", {"full", "none"}) == "full";
  const Grid grid = grid_of(args, "grid");
  const WindowLayout3d fitted = fit_windows_3d(grid, options.window, options.shift);
  require(equal(fitted.window, grid_of(args, "effective_window")) &&
              equal(fitted.shift, grid_of(args, "effective_shift")),
          "verify", "windows or shifts that do not follow from grid and window by Video Swin's rule");
  const VideoSwinBlock layer(w, options);
  return [layer, grid](const Context& ctx, const std::vector<Var>& in) {
    const Shape shape = input_at(in, 0).shape();
    require(shape.rank() == 5 && shape[1] == grid.frames && shape[2] == grid.rows && shape[3] == grid.columns,
            "verify", "an input of shape {} is not (B, {}, {}, {}, C)", shape.str(), grid.frames, grid.rows,
            grid.columns);
    const Var x = reshape(ctx, in[0], {shape[0], grid.tokens(), shape[4]});
    return std::vector<Var>{reshape(ctx, layer(ctx, x, grid), shape)};
  };
}

}  // namespace

std::vector<LayerKind> swin_layer_kinds() {
  return {{"window_attention_3d", window_attention_3d}, {"video_swin_block", video_swin_block}};
}

}  // namespace locant
