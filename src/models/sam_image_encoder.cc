// The image encoder of Segment Anything: Kirillov et al. 2023, appendix A, a ViTDet (Li et al. 2022) with
// windows of 14 x 14 in all but four blocks, decomposed relative positions in every block, and a neck of two
// convolutions. Tensor names, stage paths and layout are those of facebookresearch/segment-anything
// (image_encoder.py); timm's samvit (without convolutions in the neck, pooled, with a head), DeepSeek-OCR's
// (two more convolutions) and Hugging Face's names are data in renames_sam.cc and in SamEncoderConfig.
// Windows are padded behind the first norm: a padded token is zero, so that its key and value are the
// projection's bias, and it acts as a key.
#include "models/sam_image_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/config_json.h"
#include "models/sam_neck.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/decomposed.h"
#include "position/learned_absolute.h"

namespace locant {
namespace {

constexpr const char* kOp = "sam_image_encoder";

struct SamEncoderConfig {
  std::string naming = "segment-anything";
  Pair img_size = {1024, 1024};  // decides the tables' sizes; any multiple of the patch runs
  Pair patch_size = {16, 16};
  std::int64_t in_chans = 3, num_classes = 0;
  std::int64_t dim = 768, depth = 12, heads = 12;
  Pair window = {14, 14};
  std::vector<std::int64_t> global_blocks = {2, 5, 8, 11};  // blocks that attend over the whole grid
  double mlp_ratio = 4.0;
  float norm_eps = 1e-6f;
  bool absolute_pos = true;
  std::string pos_resize = "bicubic_antialias";  // for another grid than img_size's; none: an Error
  std::string neck = "conv";                     // or norm: a norm over the channels (timm)
  std::int64_t out_chans = 256;
  float neck_norm_eps = 1e-6f;
  std::vector<std::int64_t> net_chans = {};  // further 3x3 convolutions of stride 2 (DeepSeek-OCR)
  std::string pool = "none";                 // or mean, and a head of num_classes

  Pair grid(Pair image) const { return {image.rows / patch_size.rows, image.columns / patch_size.columns}; }
  bool is_global(std::int64_t block) const {
    return std::find(global_blocks.begin(), global_blocks.end(), block) != global_blocks.end();
  }
};

template <class Archive, class Config>
void fields(Archive& archive, Config& c) {
  archive.field("naming", c.naming);
  transformer_fields(archive, c);
  archive.field("num_classes", c.num_classes);
  archive.field("window", c.window);
  archive.field("global_blocks", c.global_blocks);
  archive.field("mlp_ratio", c.mlp_ratio);
  archive.field("norm_eps", c.norm_eps);
  archive.field("absolute_pos", c.absolute_pos);
  archive.field("pos_resize", c.pos_resize);
  archive.field("neck", c.neck);
  archive.field("out_chans", c.out_chans);
  archive.field("neck_norm_eps", c.neck_norm_eps);
  archive.field("net_chans", c.net_chans);
  archive.field("pool", c.pool);
  archive.only("qkv_bias", "full");
  archive.only("act", "gelu");
  archive.only("rel_pos", true);
  archive.only("rel_pos_resize", "linear");
}

void check(const SamEncoderConfig& c) {
  require(c.in_chans > 0 && c.dim > 0 && c.heads > 0 && c.dim % c.heads == 0 && c.dim / c.heads <= 256, kOp,
          "in_chans {} must be at least 1, and dim {} divide into {} heads of at most 256", c.in_chans, c.dim,
          c.heads);
  require(c.depth > 0 && c.depth <= 1024, kOp, "{} blocks; 1 to 1024 were expected", c.depth);
  for (const std::int64_t block : c.global_blocks)
    require(block < c.depth, kOp, "global block {} of {} blocks", block, c.depth);
  require(c.patch_size.rows > 0 && c.patch_size.columns > 0 && c.img_size.rows >= c.patch_size.rows &&
              c.img_size.columns >= c.patch_size.columns,
          kOp, "img_size {}x{} and patch_size {}x{}: a picture holds one patch at least", c.img_size.rows,
          c.img_size.columns, c.patch_size.rows, c.patch_size.columns);
  require(c.window.rows > 0 && c.window.columns > 0 && c.window.rows <= 256 && c.window.columns <= 256, kOp,
          "window {}x{} must be from 1 to 256", c.window.rows, c.window.columns);
  require(c.mlp_ratio < 1024 && static_cast<double>(c.dim) * c.mlp_ratio >= 1.0 && c.out_chans > 0, kOp,
          "mlp_ratio {} must be below 1024 and leave dim {} a channel, and out_chans {} be at least 1",
          c.mlp_ratio, c.dim, c.out_chans);
  parse_position_resize(c.pos_resize);
  require(
      c.neck == "conv" || (c.neck == "norm" && c.out_chans == c.dim && c.net_chans.empty()), kOp,
      "neck is \"{}\" with out_chans {} of {} and {} net_chans; there are conv, and norm, which changes no "
      "width and has no further convolutions",
      c.neck, c.out_chans, c.dim, c.net_chans.size());
  require(c.pool == "none" || (c.pool == "mean" && c.net_chans.empty()), kOp,
          "pool is \"{}\" with {} net_chans; there are none, and mean without them", c.pool,
          c.net_chans.size());
  require(c.num_classes == 0 || c.pool == "mean", kOp, "{} classes need pool \"mean\"", c.num_classes);
}

/// What all blocks of a pass share.
struct Pass {
  Pair grid;
  AxisIndices global;  // of blocks that attend over the whole grid
  std::shared_ptr<const RowMaps> windows;
  AxisIndices windowed;
  bool pads = false;  // some slots of the windows are padding
};

/// x + attention(norm1 x), over the grid or in windows, then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const SamEncoderConfig& c, bool global);
  /// x (B, N, C) is let go once it is no longer needed.
  Var operator()(const Context& ctx, Var x, const Pass& pass) const;
  bool global() const { return global_; }

 private:
  Var attend(const Context& ctx, const Var& normed, const Pass& pass) const;
  void show_windows(const Context& ctx, const Var& normed, const Pass& pass) const;

  std::string path_;
  bool global_;
  std::int64_t heads_;
  Window window_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_, lin1_, lin2_;
  Decomposed tables_;
};

Block::Block(const Weights& w, const SamEncoderConfig& c, bool global)
    : path_(w.path()),
      global_(global),
      heads_(c.heads),
      window_{c.window.rows, c.window.columns},
      norm1_(w / "norm1", c.dim, c.norm_eps),
      norm2_(w / "norm2", c.dim, c.norm_eps) {
  const Weights attn = w / "attn";
  const Pair grid = global ? c.grid(c.img_size) : c.window;
  const std::int64_t D = c.dim / c.heads,
                     hidden = static_cast<std::int64_t>(static_cast<double>(c.dim) * c.mlp_ratio);
  qkv_ = Linear(attn / "qkv", c.dim, 3 * c.dim);
  proj_ = Linear(attn / "proj", c.dim, c.dim);
  tables_.rows = attn.get(Decomposed::kRows, {decomposed_rows(grid.rows, grid.rows), D}, Init::zeros(),
                          {.decay = false});
  tables_.columns = attn.get(Decomposed::kColumns, {decomposed_rows(grid.columns, grid.columns), D},
                             Init::zeros(), {.decay = false});
  lin1_ = Linear(w / "mlp" / "lin1", c.dim, hidden);
  lin2_ = Linear(w / "mlp" / "lin2", hidden, c.dim);
}

Var Block::attend(const Context& ctx, const Var& normed, const Pass& pass) const {
  const Var qkv = qkv_(ctx, normed);
  AttentionOptions options;
  options.heads = heads_;
  const Pair grid = global_ ? pass.grid : Pair{window_.rows, window_.columns};
  const Decomposed tables{.frames = {},
                          .rows = resize_decomposed(ctx, tables_.rows, grid.rows, grid.rows),
                          .columns = resize_decomposed(ctx, tables_.columns, grid.columns, grid.columns)};
  if (!global_) {
    options.rows = pass.windows;
    if (pass.pads) options.pad_bias = qkv_.bias();
  }
  options.terms = {decomposed_term(ctx, tables, qkv, heads_, global_ ? pass.global : pass.windowed,
                                   normed.dim(2) / heads_)};
  return attention(ctx, qkv, options);
}

/// The attention's output in windows as the sources have it, with padded queries.
void Block::show_windows(const Context& ctx, const Var& normed, const Pass& pass) const {
  const WindowLayout layout{.rows = pass.grid.rows, .columns = pass.grid.columns, .window = window_};
  const WindowLayout whole{
      .rows = layout.padded_rows(), .columns = layout.padded_columns(), .window = window_};
  Pass padded{.grid = {whole.rows, whole.columns}, .global = {}, .windows = {}, .windowed = {}};
  padded.windows = std::make_shared<const RowMaps>(make_window_rows(whole));
  const Grid window{1, window_.rows, window_.columns};
  padded.windowed = decomposed_window_indices(*padded.windows, whole.rows * whole.columns, window, window);
  const Var out = proj_({}, attend({}, Var(padded_grid(normed.value(), layout)), padded));
  ctx.show([&] { return path_ + ".attn"; }, Var(window_order(out.value(), *padded.windows)));
}

Var Block::operator()(const Context& ctx, Var x, const Pass& pass) const {
  {
    const Var normed = norm1_(ctx, x);
    const Var out = attend(ctx, normed, pass);
    if (ctx.probe != nullptr && global_) ctx.show([&] { return path_ + ".attn"; }, proj_({}, out));
    if (ctx.probe != nullptr && !global_) show_windows(ctx, normed, pass);
    x = proj_(ctx, out, Activation::none, x);
  }
  return lin2_(ctx, lin1_(ctx, norm2_(ctx, x), Activation::gelu), Activation::none, x);
}

class SamImageEncoder final : public Model {
 public:
  SamImageEncoder(SamEncoderConfig config, const Weights& w);
  const std::string& family() const override {
    static const std::string name = kOp;
    return name;
  }
  std::string config() const override {
    ConfigWriter writer;
    fields(writer, config_);
    return writer.str();
  }
  std::int64_t num_classes() const override { return config_.num_classes; }
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Var encode(const Context& ctx, const Var& images, Pair& grid) const;
  Var embed(const Context& ctx, const Var& images, Pair& grid) const;
  Pass pass_of(Pair grid) const;
  Var normed_tokens(const Context& ctx, const Var& tokens, Pair grid) const;

  SamEncoderConfig config_;
  PatchEmbed patch_embed_;
  Var pos_embed_;  // (1, rows, columns, C)
  std::vector<Block> blocks_;
  SamNeck neck_;
  LayerNorm neck_norm_;
  std::vector<Conv2d> net_;
  Linear head_;
  WindowMaps maps_;
};

SamImageEncoder::SamImageEncoder(SamEncoderConfig config, const Weights& w)
    : Model(w), config_(std::move(config)) {
  const SamEncoderConfig& c = config_;
  const Pair grid = c.grid(c.img_size);
  if (c.absolute_pos)
    pos_embed_ = w.get("pos_embed", {1, grid.rows, grid.columns, c.dim}, Init::zeros(), {.decay = false});
  patch_embed_ =
      PatchEmbed(w / "patch_embed" / "proj", c.in_chans, c.patch_size.rows, c.patch_size.columns, c.dim);
  for (std::int64_t b = 0; b < c.depth; ++b) blocks_.emplace_back(w / "blocks" / b, c, c.is_global(b));
  if (c.neck == "conv")
    neck_ = SamNeck(w / "neck", c.dim, c.out_chans, c.neck_norm_eps);
  else
    neck_norm_ = LayerNorm(w / "neck", c.dim, c.neck_norm_eps);
  std::int64_t width = c.out_chans;
  for (std::size_t n = 0; n < c.net_chans.size(); width = c.net_chans[n++])
    net_.emplace_back(w / fmt::format("net_{}", n + 2), width, c.net_chans[n],
                      Conv2d::square(3, 2, 1, 1, false));
  if (c.num_classes > 0) head_ = Linear(w / "head", c.out_chans, c.num_classes);
}

Var SamImageEncoder::embed(const Context& ctx, const Var& images, Pair& grid) const {
  const SamEncoderConfig& c = config_;
  const Shape& shape = images.shape();
  require(shape.rank() == 4 && shape[0] > 0 && shape[1] == c.in_chans, kOp,
          "images of shape {}; (B, {}, H, W) was expected", shape.str(), c.in_chans);
  require(shape[2] >= c.patch_size.rows && shape[3] >= c.patch_size.columns &&
              shape[2] % c.patch_size.rows == 0 && shape[3] % c.patch_size.columns == 0,
          kOp, "an image of {}x{}; sides must be multiples of the patch {}x{}, as its padding makes them",
          shape[2], shape[3], c.patch_size.rows, c.patch_size.columns);
  grid = c.grid({shape[2], shape[3]});
  const Var x = patch_embed_(ctx, images);
  ctx.show([] { return "patch_embed"; }, x);
  if (!pos_embed_.defined()) return x;
  const Pair made = c.grid(c.img_size);
  Var table = pos_embed_;
  if (!(made == grid)) {
    const PositionResize rule = parse_position_resize(c.pos_resize);
    require(rule.allowed, kOp,
            "the position table is made for images of {}x{} and pos_resize is none; an image of {}x{} came",
            c.img_size.rows, c.img_size.columns, shape[2], shape[3]);
    table = resize(ctx, table, grid.rows, grid.columns, rule.rule, rule.offset);
  }
  return add(ctx, x, reshape(ctx, table, {grid.rows * grid.columns, c.dim}));
}

Pass SamImageEncoder::pass_of(Pair grid) const {
  const Window side{config_.window.rows, config_.window.columns};
  const Grid whole{1, grid.rows, grid.columns}, window{1, side.rows, side.columns};
  Pass pass{.grid = grid, .global = {}, .windows = {}, .windowed = {}};
  pass.global = decomposed_indices(whole, whole);
  const WindowLayout layout{.rows = grid.rows, .columns = grid.columns, .window = side};
  pass.windows = maps_.rows(layout);
  pass.pads = layout.pads();
  pass.windowed = decomposed_window_indices(*pass.windows, whole.tokens(), window, window);
  return pass;
}

/// Tokens (B, N, C) behind the last block.
Var SamImageEncoder::encode(const Context& ctx, const Var& images, Pair& grid) const {
  Var x = embed(ctx, images, grid);
  const Pass pass = pass_of(grid);
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    x = blocks_[b](ctx, std::move(x), pass);
    ctx.show([=] { return fmt::format("blocks.{}", b); }, x);
  }
  return x;
}

Var SamImageEncoder::normed_tokens(const Context& ctx, const Var& tokens, Pair grid) const {
  const Var x = neck_norm_(ctx, tokens);
  if (ctx.probe != nullptr) ctx.show([] { return "neck"; }, tokens_to_images({}, x, grid.rows, grid.columns));
  return x;
}

Var SamImageEncoder::forward(const Context& ctx, const Var& images) const {
  Pair grid;
  const Var tokens = encode(ctx, images, grid);
  if (!neck_.defined()) {
    const Var x = normed_tokens(ctx, tokens, grid);
    if (config_.pool == "none") return tokens_to_images(ctx, x, grid.rows, grid.columns);
    const Var pooled = mean_pool(ctx, x);
    return head_.defined() ? head_(ctx, pooled) : pooled;
  }
  Var x = neck_(ctx, tokens, grid.rows, grid.columns);
  if (config_.pool == "mean") {
    x = mean_pool(ctx, images_to_tokens(ctx, x));
    return head_.defined() ? head_(ctx, x) : x;
  }
  for (std::size_t n = 0; n < net_.size(); ++n) {
    x = net_[n](ctx, x);
    ctx.show([=] { return fmt::format("net_{}", n + 2); }, x);
  }
  return x;
}

Features SamImageEncoder::features(const Context& ctx, const Var& images) const {
  Pair grid;
  const Var tokens = encode(ctx, images, grid);
  Features out;
  out.patches = neck_.defined() ? images_to_tokens(ctx, neck_(ctx, tokens, grid.rows, grid.columns))
                                : normed_tokens(ctx, tokens, grid);
  out.cls = mean_pool(ctx, out.patches);
  out.rows = grid.rows;
  out.columns = grid.columns;
  return out;
}

}  // namespace

std::unique_ptr<Model> make_sam_image_encoder(const std::string& config_json, const Weights& weights) {
  ConfigReader reader(kOp, config_json);
  SamEncoderConfig config;
  fields(reader, config);
  reader.finish();
  check(config);
  return std::make_unique<SamImageEncoder>(std::move(config), weights);
}

void register_sam_image_encoder(std::vector<ModelEntry>& entries) {
  struct Size {
    const char *name, *timm, *global_blocks;
    std::int64_t dim, depth, heads;
  };
  constexpr Size kSizes[] = {{"b", "base", "[2,5,8,11]", 768, 12, 12},
                             {"l", "large", "[5,11,17,23]", 1024, 24, 16},
                             {"h", "huge", "[7,15,23,31]", 1280, 32, 16}};
  Preprocess preprocess;
  preprocess.rows = preprocess.columns = 1024;
  preprocess.mode = Preprocess::Mode::squash;
  preprocess.crop_pct = 1.0;
  const auto config = [](const Size& size, const char* more) {
    return fmt::format(R"({{"dim":{},"depth":{},"heads":{},"global_blocks":{}{}}})", size.dim, size.depth,
                       size.heads, size.global_blocks, more);
  };
  for (const Size& size : kSizes)
    entries.push_back({fmt::format("sam_image_encoder_vit_{}", size.name),
                       {fmt::format("samvit_{}_patch16", size.timm)},
                       kOp,
                       config(size, ""),
                       preprocess,
                       "image encoder of Segment Anything, Kirillov et al. 2023; embeddings, no classes",
                       false});
  preprocess.rows = preprocess.columns = 224;
  preprocess.mode = Preprocess::Mode::resize_short;
  preprocess.crop_pct = 0.9;
  entries.push_back(
      {"samvit_base_patch16_224",
       {},
       kOp,
       config(kSizes[0],
              R"(,"naming":"timm","img_size":224,"num_classes":1000,"absolute_pos":false,"neck":"norm",)"
              R"("out_chans":768,"pool":"mean","norm_eps":1e-5)"),
       preprocess,
       "SAM's encoder as a classifier, timm"});
}

}  // namespace locant
