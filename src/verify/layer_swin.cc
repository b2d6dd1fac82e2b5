#include "core/error.h"
#include "nn/video_swin_block.h"
#include "nn/window_attention_v2.h"
#include "ops/layout.h"
#include "verify/layers.h"

namespace locant {

namespace {

void require_text(const LayerArgs& args, const std::string& key, const char* only) {
  const std::string given = args.text(key, only);
  require(given == only, "verify", "the option {} is \"{}\"; there is {}", key, given, only);
}

Window window_of(const LayerArgs& args, const std::string& key) {
  const std::vector<std::int64_t> sides = args.integers(key);
  require(sides.size() == 2, "verify", "the option {} has {} sides; two were expected", key, sides.size());
  return {sides[0], sides[1]};
}

Grid grid_of(const LayerArgs& args, const std::string& key) {
  const std::vector<std::int64_t> sides = args.integers(key);
  require(sides.size() == 3, "verify", "the option {} has {} sides; three were expected", key, sides.size());
  return {sides[0], sides[1], sides[2]};
}

bool equal(Grid a, Grid b) { return a.frames == b.frames && a.rows == b.rows && a.columns == b.columns; }

// A forbidden key's weight must be zero in float32, as it is here.
void require_mask(const LayerArgs& args) {
  require(!args.has("mask_value") || args.number("mask_value") <= -100.0, "verify",
          "a mask of {} leaves forbidden keys a weight", args.number("mask_value", 0.0));
}

void require_windows(const LayerArgs& args, const Var& x) {
  const std::int64_t windows = args.integer("batch_windows");
  require(x.shape().rank() == 3 && x.dim(0) == windows, "verify", "{} windows in an input of shape {}",
          windows, x.shape().str());
}

OracleLayer window_attention_v2(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
  WindowAttentionV2::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.window = window_of(args, "window");
  options.pretrained = window_of(args, "pretrained_window");
  options.hidden = args.integer("cpb_hidden");
  options.bias_scale = static_cast<float>(args.number("bias_scale"));
  options.logit_max = static_cast<float>(args.number("logit_max"));
  options.l2_eps = static_cast<float>(args.number("l2_eps"));
  const std::string bias = args.text("qkv_bias");
  require(bias == "q_v" || bias == "none", "verify", "the qkv_bias \"{}\" is neither q_v nor none", bias);
  options.qkv_bias = bias == "q_v";
  args.integer("batch_windows");
  const WindowAttentionV2 layer(w, options);
  return [layer, args](const Context& ctx, const std::vector<Var>& in) {
    require_windows(args, in.at(0));
    return std::vector<Var>{layer(ctx, in[0])};
  };
}

// Windows of the batch as groups, so that the mask of each can differ: regions of a shifted grid.
std::shared_ptr<const RowMaps> mask_of(const LayerArgs& args, Grid window) {
  if (!args.has("mask_grid")) return nullptr;
  const WindowLayout3d layout{grid_of(args, "mask_grid"), window, grid_of(args, "mask_shift")};
  require(!layout.pads(), "verify", "windows do not divide the grid of the mask");
  RowMaps rows = make_window_rows_3d(layout);
  rows.query_rows.clear();
  rows.key_rows.clear();
  return std::make_shared<const RowMaps>(std::move(rows));
}

OracleLayer window_attention_3d(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NLC");
  WindowAttention3d::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.window = grid_of(args, "window");
  const std::string bias = args.text("qkv_bias");
  require(bias == "full" || bias == "none", "verify", "the qkv_bias \"{}\" is neither full nor none", bias);
  options.qkv_bias = bias == "full";
  require_mask(args);
  const auto rows = mask_of(args, options.window);
  const WindowAttention3d layer(w, options);
  const auto gather = layer.gather(args.integer("tokens"));
  args.integer("batch_windows");
  return [layer, args, rows, gather](const Context& ctx, const std::vector<Var>& in) {
    require_windows(args, in.at(0));
    const Var x = in[0];
    if (rows == nullptr) return std::vector<Var>{layer(ctx, x, gather)};
    require(x.dim(0) % rows->groups == 0 && x.dim(1) == rows->queries, "verify",
            "an input of shape {} for masks of {} windows with {} tokens", x.shape().str(), rows->groups,
            rows->queries);
    const Var grouped = reshape(ctx, x, {x.dim(0) / rows->groups, rows->groups * rows->queries, x.dim(2)});
    return std::vector<Var>{reshape(ctx, layer(ctx, grouped, gather, rows), x.shape())};
  };
}

OracleLayer video_swin_block(const LayerArgs& args, const Weights& w) {
  require_text(args, "layout", "NDHWC");
  require_text(args, "act", "gelu");
  require_mask(args);
  VideoSwinBlock::Options options;
  options.width = args.integer("dim");
  options.heads = args.integer("heads");
  options.window = grid_of(args, "window");
  options.shift = grid_of(args, "shift");
  options.mlp_ratio = args.number("mlp_ratio");
  options.norm_eps = static_cast<float>(args.number("norm_eps"));
  const std::string bias = args.text("qkv_bias");
  require(bias == "full" || bias == "none", "verify", "the qkv_bias \"{}\" is neither full nor none", bias);
  options.qkv_bias = bias == "full";
  const Grid grid = grid_of(args, "grid");
  const WindowLayout3d fitted = fit_windows_3d(grid, options.window, options.shift);
  require(equal(fitted.window, grid_of(args, "effective_window")) &&
              equal(fitted.shift, grid_of(args, "effective_shift")),
          "verify", "windows or shifts that do not follow from grid and window by Video Swin's rule");
  const VideoSwinBlock layer(w, options);
  return [layer, grid](const Context& ctx, const std::vector<Var>& in) {
    const Shape shape = in.at(0).shape();
    require(shape.rank() == 5 && shape[1] == grid.frames && shape[2] == grid.rows && shape[3] == grid.columns,
            "verify", "an input of shape {} is not (B, {}, {}, {}, C)", shape.str(), grid.frames, grid.rows,
            grid.columns);
    const Var x = reshape(ctx, in[0], {shape[0], grid.tokens(), shape[4]});
    return std::vector<Var>{reshape(ctx, layer(ctx, x, grid), shape)};
  };
}

}  // namespace

std::vector<LayerKind> swin_layer_kinds() {
  return {{"window_attention_v2", window_attention_v2},
          {"window_attention_3d", window_attention_3d},
          {"video_swin_block", video_swin_block}};
}

}  // namespace locant
