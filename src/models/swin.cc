// Swin Transformer V1: Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted
// Windows", figures 3 (the whole), 2 and 4 (windows and their shift). Tensor names, stage paths and layout
// are those of microsoft/Swin-Transformer; what timm, torchvision and Hugging Face do otherwise is data in
// renames_swin.cc and in SwinConfig: they differ only where windows do not divide the grid.
#include "models/swin.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/config_json.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/resize.h"
#include "position/swin_bias.h"

namespace locant {
namespace {

struct SwinConfig {
  std::string naming =
      "microsoft/Swin-Transformer";  // whose conventions fill what is not given: the three below
  Pair img_size = {224, 224};        // decides windows (and so tables) at construction; any size runs
  Pair patch_size = {4, 4};
  std::int64_t in_chans = 3, num_classes = 1000;
  std::int64_t dim = 96;  // of stage 0; doubles from stage to stage
  std::vector<std::int64_t> depths = {2, 2, 6, 2}, heads = {3, 6, 12, 24};
  Pair window = {7, 7};
  // A grid with a side not larger than the window. shrink: the window becomes min(rows, columns) on both
  // axes, no shift (Microsoft, Hugging Face); shrink_axis: each axis by itself (timm); pad: the grid is
  // padded to the window, no shift on that axis (torchvision).
  std::string window_fit = "shrink";
  std::string pad_order = "pad_then_roll";  // or roll_then_pad (timm): nn/windows.h
  // An image that is no multiple of the patch: none (an Error), drop (torchvision), pad with zeros (Hugging
  // Face).
  std::string patch_remainder = "pad";
  double mlp_ratio = 4.0;
  bool patch_norm = true;
  bool absolute_pos = false;
  float norm_eps = 1e-5f;
  double drop_path = 0.0;  // of the last block; rises linearly from 0

  std::int64_t stages() const { return static_cast<std::int64_t>(depths.size()); }
  std::int64_t width(std::int64_t stage) const { return dim << stage; }
  /// Tokens of an image.
  Pair grid(Pair image) const {
    const std::int64_t more = patch_remainder == "pad" ? 1 : 0;
    return {(image.rows + more * (patch_size.rows - 1)) / patch_size.rows,
            (image.columns + more * (patch_size.columns - 1)) / patch_size.columns};
  }
};

template <class Archive, class Config>
void fields(Archive& archive, Config& c) {
  archive.field("naming", c.naming);
  archive.field("img_size", c.img_size);
  archive.field("patch_size", c.patch_size);
  archive.field("in_chans", c.in_chans);
  archive.field("num_classes", c.num_classes);
  archive.field("dim", c.dim);
  archive.field("depths", c.depths);
  archive.field("heads", c.heads);
  archive.field("window", c.window);
  archive.field("window_fit", c.window_fit);
  archive.field("pad_order", c.pad_order);
  archive.field("patch_remainder", c.patch_remainder);
  archive.field("mlp_ratio", c.mlp_ratio);
  archive.field("patch_norm", c.patch_norm);
  archive.field("absolute_pos", c.absolute_pos);
  archive.field("norm_eps", c.norm_eps);
  archive.field("drop_path", c.drop_path);
  archive.only("qkv_bias", "full");
  archive.only("act", "gelu");
  archive.only("block_norm", "pre");
  archive.only("merge_norm", "before");
  archive.only("pool", "mean");
}

/// What a library's own code does where a configuration does not say.
void follow_naming(SwinConfig& c) {
  if (c.naming == "timm") {
    c.window_fit = "shrink_axis";
    c.pad_order = "roll_then_pad";
  } else if (c.naming == "torchvision") {
    c.window_fit = "pad";
    c.patch_remainder = "drop";
  }
}

bool one_of(const std::string& value, std::initializer_list<const char*> values) {
  return std::any_of(values.begin(), values.end(), [&](const char* v) { return value == v; });
}

void check(const SwinConfig& c) {
  constexpr const char* kOp = "swin";
  require(c.in_chans > 0 && c.dim > 0 && c.patch_size.rows > 0 && c.patch_size.columns > 0, kOp,
          "in_chans {}, dim {} and patch_size {}x{} must be at least 1", c.in_chans, c.dim, c.patch_size.rows,
          c.patch_size.columns);
  require(c.img_size.rows >= c.patch_size.rows && c.img_size.columns >= c.patch_size.columns, kOp,
          "img_size {}x{} is smaller than patch_size {}x{}", c.img_size.rows, c.img_size.columns,
          c.patch_size.rows, c.patch_size.columns);
  require(c.window.rows > 0 && c.window.columns > 0 && c.window.rows <= 256 && c.window.columns <= 256, kOp,
          "window {}x{} must be from 1 to 256", c.window.rows, c.window.columns);
  require(c.stages() >= 1 && c.stages() <= 8 && c.heads.size() == c.depths.size(), kOp,
          "{} depths and {} heads; one of each a stage and 1 to 8 stages were expected", c.depths.size(),
          c.heads.size());
  for (std::int64_t s = 0; s < c.stages(); ++s) {
    const std::int64_t heads = c.heads[static_cast<std::size_t>(s)],
                       depth = c.depths[static_cast<std::size_t>(s)];
    require(heads > 0 && c.width(s) % heads == 0, kOp, "stage {}: width {} does not divide into {} heads", s,
            c.width(s), heads);
    require(depth > 0 && depth <= 1024, kOp, "stage {}: {} blocks; 1 to 1024 were expected", s, depth);
  }
  require(one_of(c.window_fit, {"shrink", "shrink_axis", "pad"}), kOp,
          "window_fit is \"{}\"; there are shrink, shrink_axis and pad", c.window_fit);
  require(one_of(c.pad_order, {"pad_then_roll", "roll_then_pad"}), kOp,
          "pad_order is \"{}\"; there are pad_then_roll and roll_then_pad", c.pad_order);
  require(one_of(c.patch_remainder, {"none", "drop", "pad"}), kOp,
          "patch_remainder is \"{}\"; there are none, drop and pad", c.patch_remainder);
  require(c.mlp_ratio > 0 && c.mlp_ratio < 1024 && c.drop_path >= 0 && c.drop_path < 1, kOp,
          "mlp_ratio {} must be in (0, 1024) and drop_path {} in [0, 1)", c.mlp_ratio, c.drop_path);
}

/// Windows of a block of odd or even index on a grid: how window and shift give way to a small grid.
WindowLayout layout_of(const SwinConfig& c, Window window, Pair grid, bool shifted) {
  WindowLayout out{.rows = grid.rows, .columns = grid.columns, .window = window};
  out.order = c.pad_order == "roll_then_pad" ? PadOrder::roll_then_pad : PadOrder::pad_then_roll;
  out.shift_rows = shifted ? window.rows / 2 : 0;
  out.shift_columns = shifted ? window.columns / 2 : 0;
  const bool low = grid.rows <= window.rows, narrow = grid.columns <= window.columns;
  if (c.window_fit == "shrink" && (low || narrow)) {
    const std::int64_t side = std::min(grid.rows, grid.columns);
    out.window = {std::min(side, window.rows), std::min(side, window.columns)};
    out.shift_rows = out.shift_columns = 0;
    return out;
  }
  if (low) out.shift_rows = 0;
  if (narrow) out.shift_columns = 0;
  if (c.window_fit == "shrink_axis")
    out.window = {std::min(grid.rows, window.rows), std::min(grid.columns, window.columns)};
  return out;
}

/// x + attention(norm1 x) in windows, then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const SwinConfig& c, std::int64_t stage, Window window, float drop_path);
  /// x (B, rows * columns, C).
  Var operator()(const Context& ctx, const Var& x, const WindowLayout& layout, const WindowMaps& maps) const;

 private:
  Var attend(const Context& ctx, const Var& x, const Var& skip, const WindowLayout& layout,
             const WindowMaps& maps) const;

  std::string path_;
  std::int64_t heads_;
  float drop_path_;
  LayerNorm norm1_;
  SwinBias bias_;
  Linear qkv_, proj_;
  LayerNorm norm2_;
  Mlp mlp_;
};

struct Stage {
  Window window;  // at construction
  std::vector<Block> blocks;
  LayerNorm merge_norm;  // over the 4 C of merged neighbours
  Linear reduction;      // 4 C -> 2 C; undefined in the last stage
};

class Swin final : public Model {
 public:
  Swin(SwinConfig config, const Weights& w);
  const std::string& family() const override {
    static const std::string name = "swin";
    return name;
  }
  std::string config() const override;
  std::int64_t num_classes() const override { return config_.num_classes; }
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Var embed(const Context& ctx, const Var& images, Pair& grid) const;
  Var encode(const Context& ctx, const Var& images, Pair& grid) const;
  Var run_stage(const Context& ctx, std::size_t index, Var x, Pair& grid) const;

  SwinConfig config_;
  Var absolute_pos_;
  PatchEmbed patch_embed_;
  LayerNorm patch_norm_;
  std::vector<Stage> stages_;
  LayerNorm norm_;
  Linear head_;
  WindowMaps maps_;
};

Swin::Swin(SwinConfig config, const Weights& w) : Model(w), config_(std::move(config)) {
  const SwinConfig& c = config_;
  Pair grid = c.grid(c.img_size);
  if (c.absolute_pos)
    absolute_pos_ = w.get("absolute_pos_embed", {1, grid.rows * grid.columns, c.dim},
                          Init::trunc_normal(0.02f), {.decay = false});
  patch_embed_ =
      PatchEmbed(w / "patch_embed" / "proj", c.in_chans, c.patch_size.rows, c.patch_size.columns, c.dim);
  if (c.patch_norm) patch_norm_ = LayerNorm(w / "patch_embed" / "norm", c.dim, c.norm_eps);

  std::int64_t blocks = 0, block = 0;
  for (const std::int64_t depth : c.depths) blocks += depth;
  for (std::int64_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / "layers" / s;
    Stage& stage = stages_.emplace_back();
    stage.window = layout_of(c, {c.window.rows, c.window.columns}, grid, false).window;
    for (std::int64_t b = 0; b < c.depths[static_cast<std::size_t>(s)]; ++b, ++block) {
      const double rate =
          blocks > 1 ? c.drop_path * static_cast<double>(block) / static_cast<double>(blocks - 1) : 0.0;
      stage.blocks.emplace_back(at / "blocks" / b, c, s, stage.window, static_cast<float>(rate));
    }
    if (s + 1 == c.stages()) break;
    stage.merge_norm = LayerNorm(at / "downsample" / "norm", 4 * c.width(s), c.norm_eps);
    stage.reduction =
        Linear(at / "downsample" / "reduction", 4 * c.width(s), 2 * c.width(s), {.bias = false});
    grid = {(grid.rows + 1) / 2, (grid.columns + 1) / 2};
  }
  const std::int64_t width = c.width(c.stages() - 1);
  norm_ = LayerNorm(w / "norm", width, c.norm_eps);
  if (c.num_classes > 0) head_ = Linear(w / "head", width, c.num_classes);
}

Var Swin::forward(const Context& ctx, const Var& images) const {
  Pair grid;
  const Var pooled = mean_pool(ctx, encode(ctx, images, grid));  // (B, C)
  ctx.show([] { return "avgpool"; }, pooled);
  if (!head_.defined()) return pooled;
  const Var logits = head_(ctx, pooled);
  ctx.show([] { return "head"; }, logits);
  return logits;
}

Features Swin::features(const Context& ctx, const Var& images) const {
  Features out;
  Pair grid;
  out.patches = encode(ctx, images, grid);
  out.cls = mean_pool(ctx, out.patches);
  out.rows = grid.rows;
  out.columns = grid.columns;
  return out;
}

/// Images (B, channels, H, W) -> normed tokens (B, rows * columns, C) of the last stage and its grid.
Var Swin::encode(const Context& ctx, const Var& images, Pair& grid) const {
  Var x = embed(ctx, images, grid);
  for (std::size_t s = 0; s < stages_.size(); ++s) x = run_stage(ctx, s, std::move(x), grid);
  x = norm_(ctx, x);
  ctx.show([] { return "norm"; }, x);
  return x;
}

Var Swin::embed(const Context& ctx, const Var& images, Pair& grid) const {
  const SwinConfig& c = config_;
  const Shape& shape = images.shape();
  require(shape.rank() == 4 && shape[0] > 0 && shape[1] == c.in_chans, "swin",
          "images of shape {}; (B, {}, H, W) was expected", shape.str(), c.in_chans);
  const bool whole = shape[2] % c.patch_size.rows == 0 && shape[3] % c.patch_size.columns == 0;
  require(whole || c.patch_remainder != "none", "swin",
          "an image of {}x{} is no multiple of the patch {}x{}, and patch_remainder is none (drop and pad "
          "take any size)",
          shape[2], shape[3], c.patch_size.rows, c.patch_size.columns);
  const bool pads = c.patch_remainder == "pad" && shape[2] > 0 && shape[3] > 0;
  const Var fitting = pads ? pad_to_patches(ctx, images, c.patch_size.rows, c.patch_size.columns) : images;
  grid = c.grid({shape[2], shape[3]});
  Var x = patch_embed_(ctx, fitting);
  if (c.patch_norm) x = patch_norm_(ctx, x);
  ctx.show([] { return "patch_embed"; }, x);
  if (!absolute_pos_.defined()) return x;
  const Pair made = c.grid(c.img_size);
  Var table = absolute_pos_;
  if (!(made == grid)) {  // the paper's code has no rule; Hugging Face's: bicubic, no antialias
    table = reshape(ctx, table, {1, made.rows, made.columns, c.dim});
    table = resize(ctx, table, grid.rows, grid.columns, ResizeRule::bicubic);
  }
  return add(ctx, x, reshape(ctx, table, {grid.rows * grid.columns, c.dim}));
}

/// Tokens (B, rows * columns, C) through the stage's blocks and, but for the last, its merging: (.., 2 C),
/// half the grid.
Var Swin::run_stage(const Context& ctx, std::size_t index, Var x, Pair& grid) const {
  const Stage& stage = stages_[index];
  const WindowLayout plain = layout_of(config_, stage.window, grid, false);
  const WindowLayout shifted = layout_of(config_, stage.window, grid, true);
  for (std::size_t b = 0; b < stage.blocks.size(); ++b) {
    x = stage.blocks[b](ctx, x, b % 2 == 0 ? plain : shifted, maps_);
    ctx.show([=] { return fmt::format("layers.{}.blocks.{}", index, b); }, x);
  }
  ctx.show([=] { return fmt::format("layers.{}.blocks", index); }, x);
  if (stage.reduction.defined()) {
    x = merge_patches(ctx, reshape(ctx, x, {x.dim(0), grid.rows, grid.columns, x.dim(2)}));
    grid = {x.dim(1), x.dim(2)};
    x = reshape(ctx, x, {x.dim(0), grid.rows * grid.columns, x.dim(3)});
    x = stage.reduction(ctx, stage.merge_norm(ctx, x));
    ctx.show([=] { return fmt::format("layers.{}.downsample", index); }, x);
  }
  ctx.show([=] { return fmt::format("layers.{}", index); }, x);
  return x;
}

Block::Block(const Weights& w, const SwinConfig& c, std::int64_t stage, Window window, float drop_path)
    : path_(w.path()),
      heads_(c.heads[static_cast<std::size_t>(stage)]),
      drop_path_(drop_path),
      norm1_(w / "norm1", c.width(stage), c.norm_eps),
      bias_{window, (w / "attn")
                        .get(SwinBias::kTable, {swin_table_rows(window), heads_}, Init::trunc_normal(0.02f),
                             {.decay = false})},
      qkv_(w / "attn" / "qkv", c.width(stage), 3 * c.width(stage)),
      proj_(w / "attn" / "proj", c.width(stage), c.width(stage)),
      norm2_(w / "norm2", c.width(stage), c.norm_eps),
      mlp_(w / "mlp", c.width(stage),
           static_cast<std::int64_t>(static_cast<double>(c.width(stage)) * c.mlp_ratio)) {}

Var Block::operator()(const Context& ctx, const Var& x, const WindowLayout& layout,
                      const WindowMaps& maps) const {
  if (ctx.train && drop_path_ > 0) {
    const Var y = add(ctx, x, drop_path(ctx, attend(ctx, norm1_(ctx, x), Var(), layout, maps), drop_path_));
    return add(ctx, y, drop_path(ctx, mlp_(ctx, norm2_(ctx, y)), drop_path_));
  }
  const Var y = attend(ctx, norm1_(ctx, x), x, layout, maps);
  return mlp_(ctx, norm2_(ctx, y), y);
}

/// skip + proj(window attention): windows, shift and padding are row maps of the fused op, nothing is copied
/// into windows.
Var Block::attend(const Context& ctx, const Var& x, const Var& skip, const WindowLayout& layout,
                  const WindowMaps& maps) const {
  const Var qkv = qkv_(ctx, x);  // (B, N, 3 C), rows q | k | v, head-major
  AttentionOptions options;
  options.heads = heads_;
  options.rows = maps.rows(layout);
  options.terms = {swin_bias_term(bias_, maps.gather(bias_.window, layout.window))};
  // A padded token is zero before the projection, so its key and value are the projection's bias.
  if (layout.pads()) options.pad_bias = qkv_.bias();
  const Var out = attention(ctx, qkv, options);
  if (ctx.probe != nullptr)  // as the libraries see it, in window order
    ctx.show([&] { return path_ + ".attn"; },
             Var(window_order(proj_(Context{}, out).value(), *options.rows)));
  return proj_(ctx, out, Activation::none, skip);
}

std::string Swin::config() const {
  ConfigWriter writer;
  fields(writer, config_);
  return writer.str();
}

struct Size {
  const char *name, *initial;
  std::int64_t dim;
  const char *depths, *heads;
  double drop_path;                 // of the paper's training
  std::int64_t torchvision_resize;  // short side before its 224 crop; 0: torchvision has no such model
};

constexpr Size kSizes[] = {{"tiny", "t", 96, "[2,2,6,2]", "[3,6,12,24]", 0.2, 232},
                           {"small", "s", 96, "[2,2,18,2]", "[3,6,12,24]", 0.3, 246},
                           {"base", "b", 128, "[2,2,18,2]", "[4,8,16,32]", 0.5, 238},
                           {"large", "l", 192, "[2,2,18,2]", "[6,12,24,48]", 0.2, 0}};
constexpr const char* kPaper = "Swin V1, Liu et al. 2021";
constexpr const char* kDigits =
    R"({"img_size":28,"patch_size":2,"in_chans":1,"num_classes":10,"dim":48,"depths":[2,2],"heads":[3,6],)"
    R"("window":7,"drop_path":0.1})";

/// Image of 32 window sides: the last stage (patch 4, three mergings) is then one window.
std::string json_of(const Size& size, std::int64_t window, std::int64_t classes, const char* more = "") {
  return fmt::format(
      R"({{"img_size":{},"window":{},"num_classes":{},"dim":{},"depths":{},"heads":{},"drop_path":{}{}}})",
      32 * window, window, classes, size.dim, size.depths, size.heads, size.drop_path, more);
}

Preprocess digits_preprocess() {
  Preprocess out;
  out.rows = out.columns = 28;
  out.channels = 1;
  out.mode = Preprocess::Mode::squash;
  out.crop_pct = 1.0;
  out.filter = ResizeFilter::bilinear;
  out.mean.fill(0.1307f);
  out.std.fill(0.3081f);
  return out;
}

}  // namespace

std::unique_ptr<Model> make_swin(const std::string& config_json, const Weights& weights) {
  ConfigReader reader("swin", config_json);
  SwinConfig config;
  reader.field("naming", config.naming);
  follow_naming(config);
  fields(reader, config);
  reader.finish();
  // timm shrinks each axis by itself and has no other way, so what is called shrink there is this.
  if (config.naming == "timm" && config.window_fit == "shrink") config.window_fit = "shrink_axis";
  check(config);
  return std::make_unique<Swin>(std::move(config), weights);
}

void register_swin(std::vector<ModelEntry>& entries) {
  for (const Size& size : kSizes)
    for (const std::int64_t window : {7, 12}) {
      const std::int64_t image = window * 32;
      if (window == 12 && size.dim < 128) continue;  // the small ones exist at 224 only
      Preprocess preprocess;
      preprocess.rows = preprocess.columns = image;
      preprocess.crop_pct = window == 7 ? 0.9 : 1.0;
      const std::string name = fmt::format("swin_{}_patch4_window{}_{}", size.name, window, image);
      const std::string brief =
          window == 7 ? fmt::format("swin_{}", size.name) : fmt::format("swin_{}_{}", size.name, image);
      entries.push_back({name, {brief}, "swin", json_of(size, window, 1000), preprocess, kPaper});
      entries.push_back({name + "_22k",
                         {name + ".ms_in22k", brief + "_22k"},
                         "swin",
                         json_of(size, window, 21841),
                         preprocess,
                         "Swin V1 on the 21,841 classes of ImageNet-22k"});
    }
  for (const Size& size : kSizes) {
    if (size.torchvision_resize == 0) continue;
    Preprocess preprocess;
    preprocess.resize_to = size.torchvision_resize;
    entries.push_back({fmt::format("swin_{}", size.initial),
                       {fmt::format("torchvision/swin_{}", size.initial)},
                       "swin",
                       json_of(size, 7, 1000, R"(,"naming":"torchvision")"),
                       preprocess,
                       "Swin V1 as trained by torchvision"});
  }
  entries.push_back({"swin_digits",
                     {},
                     "swin",
                     kDigits,
                     digits_preprocess(),
                     "a small Swin for handwritten digits, trained by Locant"});
}

}  // namespace locant
