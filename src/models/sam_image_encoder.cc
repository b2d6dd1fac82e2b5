// The image encoder of Segment Anything: Kirillov et al. 2023, appendix A, a ViTDet (Li et al. 2022) with
// windows of 14 x 14 in all but four blocks, decomposed relative positions in every block, and a neck of two
// convolutions. Tensor names, stage paths and layout are those of facebookresearch/segment-anything
// (image_encoder.py); timm's samvit (without convolutions in the neck, pooled, with a head), DeepSeek-OCR's
// (two more convolutions) and Hugging Face's differ in SamEncoderConfig and in names.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/sam_block.h"
#include "models/sam_neck.h"
#include "nn/layers.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/learned_absolute.h"

namespace locant {
namespace sam_image_encoder_model {
namespace {

struct SamEncoderConfig {
  enum class Neck { conv, norm };  // norm: a norm over the channels (timm)
  enum class Pool { none, mean };  // mean: and a head of num_classes
  // img_size decides the tables' sizes; any multiple of the patch runs
  PatchInput input = {.img_size = {1024, 1024}, .num_classes = 0};
  std::int64_t dim = 768, depth = 12, heads = 12;
  Pair window = {14, 14};
  std::vector<std::int64_t> global_blocks = {2, 5, 8, 11};  // blocks that attend over the whole grid
  double mlp_ratio = 4.0;
  std::int64_t mlp_hidden = 0;  // 0: mlp_ratio * dim
  float norm_eps = 1e-6f;
  bool absolute_pos = true;
  std::string pos_resize = "bicubic_antialias";  // for another grid than img_size's; none: an Error
  Neck neck = Neck::conv;
  std::int64_t out_chans = 256;
  float neck_norm_eps = 1e-6f;
  std::vector<std::int64_t> net_chans = {};  // further 3x3 convolutions of stride 2 (DeepSeek-OCR)
  Pool pool = Pool::none;

  std::int64_t hidden() const { return mlp_hidden > 0 ? mlp_hidden : scaled_width(dim, mlp_ratio); }
  bool is_global(std::int64_t block) const {
    return std::find(global_blocks.begin(), global_blocks.end(), block) != global_blocks.end();
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("window", c.window, range(1, 256));
  a.field("global_blocks", c.global_blocks, range(0, static_cast<double>(c.depth - 1)));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("mlp_hidden", c.mlp_hidden);
  a.field("norm_eps", c.norm_eps);
  a.field("absolute_pos", c.absolute_pos);
  a.field("pos_resize", c.pos_resize);
  a.choice("neck", c.neck, {"conv", "norm"});
  a.field("out_chans", c.out_chans, at_least(1));
  a.field("neck_norm_eps", c.neck_norm_eps);
  a.field("net_chans", c.net_chans, at_least(1));
  a.choice("pool", c.pool, {"none", "mean"});
  a.only("qkv_bias", "full");
  a.only("act", "gelu");
  a.only("rel_pos", true);
  a.only("rel_pos_resize", "linear");
}

void check(const std::string& op, const SamEncoderConfig& c) {
  const Pair &image = c.input.img_size, &patch = c.input.patch_size;
  require(c.dim / c.heads <= 256, op, "dim {} and {} heads: a head has at most 256 channels", c.dim, c.heads);
  require(c.input.grid().tokens() > 0, op, "img_size {}x{} and patch_size {}x{}: a picture holds one patch",
          image.rows, image.columns, patch.rows, patch.columns);
  require(c.hidden() > 0, op, "mlp_ratio {} leaves dim {} no hidden channel", c.mlp_ratio, c.dim);
  parse_position_resize(c.pos_resize);
  require(c.neck == SamEncoderConfig::Neck::conv || (c.out_chans == c.dim && c.net_chans.empty()), op,
          "neck norm with out_chans {} of {} and {} net_chans; it changes no width and has no further "
          "convolutions",
          c.out_chans, c.dim, c.net_chans.size());
  const bool pools = c.pool == SamEncoderConfig::Pool::mean;
  require(!pools || c.net_chans.empty(), op, "pool mean goes with no net_chans, here {}", c.net_chans.size());
  require(pools || c.input.num_classes == 0, op, "{} classes need pool mean", c.input.num_classes);
}

class SamImageEncoder final : public ImageModelOf<SamEncoderConfig> {
 public:
  SamImageEncoder(const Family& family, SamEncoderConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Var encode(const Context& ctx, const Var& images, const Grid& grid) const;
  Var embed(const Context& ctx, const Var& images, const Grid& grid) const;
  Var normed_tokens(const Context& ctx, const Var& tokens, const Grid& grid) const;

  PatchEmbed patch_embed_;
  Var pos_embed_;  // (1, rows, columns, C)
  std::vector<SamBlock> blocks_;
  SamNeck neck_;
  LayerNorm neck_norm_;
  std::vector<Conv2d> net_;
  Linear head_;
  WindowMaps maps_;
};

SamImageEncoder::SamImageEncoder(const Family& family, SamEncoderConfig config, const Weights& w)
    : ImageModelOf(family, std::move(config)) {
  const SamEncoderConfig& c = this->c();
  const Grid grid = c.input.grid();
  if (c.absolute_pos)
    pos_embed_ = w.get("pos_embed", {1, grid.rows, grid.columns, c.dim}, Init::zeros(), {.decay = false});
  patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
  for (std::int64_t b = 0; b < c.depth; ++b)
    blocks_.emplace_back(w / "blocks" / b, SamBlock::Options{.dim = c.dim,
                                                             .heads = c.heads,
                                                             .hidden = c.hidden(),
                                                             .window = {c.window.rows, c.window.columns},
                                                             .grid = grid,
                                                             .global = c.is_global(b),
                                                             .norm_eps = c.norm_eps});
  if (c.neck == SamEncoderConfig::Neck::conv)
    neck_ = SamNeck(w / "neck", c.dim, c.out_chans, c.neck_norm_eps);
  else
    neck_norm_ = LayerNorm(w / "neck", c.dim, c.neck_norm_eps);
  std::int64_t width = c.out_chans;
  for (std::size_t n = 0; n < c.net_chans.size(); width = c.net_chans[n++])
    net_.emplace_back(w / fmt::format("net_{}", n + 2), width, c.net_chans[n],
                      Conv2d::square(3, 2, 1, 1, false));
  if (c.input.num_classes > 0) head_ = Linear(w / "head", c.out_chans, c.input.num_classes);
}

Var SamImageEncoder::embed(const Context& ctx, const Var& images, const Grid& grid) const {
  const SamEncoderConfig& c = this->c();
  const Var x = patch_embed_(ctx, images);
  ctx.show([] { return "patch_embed"; }, x);
  if (!pos_embed_.defined()) return x;
  const Grid made = c.input.grid();
  Var table = pos_embed_;
  if (made.rows != grid.rows || made.columns != grid.columns) {
    const PositionResize rule = parse_position_resize(c.pos_resize);
    require(rule.allowed, op(),
            "the position table is made for images of {}x{} and pos_resize is none; an image of {}x{} came",
            c.input.img_size.rows, c.input.img_size.columns, images.dim(2), images.dim(3));
    table = resize(ctx, table, grid.rows, grid.columns, rule.rule, rule.offset);
  }
  return add(ctx, x, reshape(ctx, table, {grid.tokens(), c.dim}));
}

/// Tokens (B, N, C) behind the last block.
Var SamImageEncoder::encode(const Context& ctx, const Var& images, const Grid& grid) const {
  Var x = embed(ctx, images, grid);
  const SamPass pass = SamPass::over(grid, {c().window.rows, c().window.columns}, maps_);
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    x = blocks_[b](ctx, std::move(x), pass);
    ctx.show([=] { return fmt::format("blocks.{}", b); }, x);
  }
  return x;
}

Var SamImageEncoder::normed_tokens(const Context& ctx, const Var& tokens, const Grid& grid) const {
  const Var x = neck_norm_(ctx, tokens);
  if (ctx.probe != nullptr) ctx.show([] { return "neck"; }, tokens_to_images({}, x, grid.rows, grid.columns));
  return x;
}

Var SamImageEncoder::forward(const Context& ctx, const Var& images) const {
  const bool pools = c().pool == SamEncoderConfig::Pool::mean;
  const Grid grid = c().input.grid(op(), images);
  const Var tokens = encode(ctx, images, grid);
  if (!neck_.defined()) {
    const Var x = normed_tokens(ctx, tokens, grid);
    if (!pools) return tokens_to_images(ctx, x, grid.rows, grid.columns);
    const Var pooled = mean_pool(ctx, x);
    return head_.defined() ? head_(ctx, pooled) : pooled;
  }
  Var x = neck_(ctx, tokens, grid.rows, grid.columns);
  if (pools) {
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
  const Grid grid = c().input.grid(op(), images);
  const Var tokens = encode(ctx, images, grid);
  const Var x = neck_.defined() ? images_to_tokens(ctx, neck_(ctx, tokens, grid.rows, grid.columns))
                                : normed_tokens(ctx, tokens, grid);
  return {.levels = {{x, grid, c().input.patch_size.rows}}, .cls = mean_pool(ctx, x)};
}

/// The last block of each quarter: those that attend over the whole grid in every release.
std::vector<std::int64_t> usual_global_blocks(std::int64_t depth) {
  std::vector<std::int64_t> out;
  for (std::int64_t n = 1; n <= 4; ++n) out.push_back(depth * n / 4 - 1);
  return out;
}

/// A table's length tells what its block attends over: the grid, or a window.
void blocks_from_shapes(const NamedShapes& s, SamEncoderConfig& c) {
  std::vector<Pair> sides;
  for (std::int64_t b = 0; b < c.depth; ++b) {
    const std::string attn = fmt::format("blocks.{}.attn.", b);
    sides.push_back(
        {(s.dim(attn + Decomposed::kRows, 0) + 1) / 2, (s.dim(attn + Decomposed::kColumns, 0) + 1) / 2});
  }
  Pair grid = *std::max_element(sides.begin(), sides.end(), [](const Pair& a, const Pair& b) {
    return a.rows * a.columns < b.rows * b.columns;
  });
  c.absolute_pos = s.has("pos_embed");
  if (c.absolute_pos) grid = {s.dim("pos_embed", 1), s.dim("pos_embed", 2)};
  const Pair& patch = c.input.patch_size;
  const Pair image = {grid.rows * patch.rows, grid.columns * patch.columns};
  if (c.absolute_pos)
    c.input.img_size = image;
  else
    s.assume("img_size", c.input.img_size, image);
  const std::vector<std::int64_t> told_blocks = std::exchange(c.global_blocks, {});
  c.window = grid;
  for (std::int64_t b = 0; b < c.depth; ++b) {
    const Pair side = sides[static_cast<std::size_t>(b)];
    if (side == grid)
      c.global_blocks.push_back(b);
    else
      c.window = side;
  }
  if (!(c.window == grid) || c.depth < 4) return;  // lengths that differ tell them apart
  c.global_blocks = told_blocks;
  s.assume("global_blocks", c.global_blocks, usual_global_blocks(c.depth));
}

void from_shapes(const NamedShapes& s, SamEncoderConfig& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  if (const std::int64_t wide = s.dim("blocks.0.mlp.lin1.weight", 0); wide != c.hidden()) c.mlp_hidden = wide;
  const std::int64_t D = s.dim(fmt::format("blocks.0.attn.{}", Decomposed::kRows), 1);
  require(D > 0 && c.dim % D == 0, "sam_image_encoder", "tables of width {} for {} channels", D, c.dim);
  c.heads = c.dim / D;
  blocks_from_shapes(s, c);
  const bool conv = s.has("neck.0.weight");
  c.neck = conv ? SamEncoderConfig::Neck::conv : SamEncoderConfig::Neck::norm;
  c.out_chans = s.dim(conv ? "neck.0.weight" : "neck.weight", 0);
  c.net_chans.clear();
  for (std::int64_t n = 2; s.has(fmt::format("net_{}.weight", n)); ++n)
    c.net_chans.push_back(s.dim(fmt::format("net_{}.weight", n), 0));
  if (!conv || c.input.num_classes > 0) c.pool = SamEncoderConfig::Pool::mean;
  s.assume("norm_eps", c.norm_eps, conv ? c.norm_eps : 1e-5f);  // timm's classifier has another
}

std::vector<Variant<SamEncoderConfig>> variants() {
  struct Size {
    const char *name, *timm;
    std::int64_t dim, depth, heads;
  };
  Preprocess preprocess;
  preprocess.rows = preprocess.columns = 1024;
  preprocess.mode = Preprocess::Mode::squash;
  preprocess.crop_pct = 1.0;
  std::vector<Variant<SamEncoderConfig>> out;
  for (const Size& size :
       {Size{"b", "base", 768, 12, 12}, Size{"l", "large", 1024, 24, 16}, Size{"h", "huge", 1280, 32, 16}}) {
    out.push_back({fmt::format("sam_image_encoder_vit_{}", size.name),
                   {.dim = size.dim,
                    .depth = size.depth,
                    .heads = size.heads,
                    .global_blocks = usual_global_blocks(size.depth)},
                   preprocess,
                   "image encoder of Segment Anything, Kirillov et al. 2023; embeddings, no classes",
                   {fmt::format("samvit_{}_patch16", size.timm)}});
  }
  preprocess.rows = preprocess.columns = 224;
  preprocess.mode = Preprocess::Mode::resize_short;
  preprocess.crop_pct = 0.9;
  out.push_back({"samvit_base_patch16_224",
                 {.input = {.num_classes = 1000},
                  .norm_eps = 1e-5f,
                  .absolute_pos = false,
                  .neck = SamEncoderConfig::Neck::norm,
                  .out_chans = 768,
                  .pool = SamEncoderConfig::Pool::mean},
                 preprocess,
                 "SAM's encoder as a classifier, timm",
                 {},
                 "timm"});
  return out;
}

std::vector<HubKeys> hub() {
  return {
      {.model_type = "sam_vision_model",
       .keys = transformer_keys({{"window_size", "window"},
                                 {"global_attn_indexes", "global_blocks"},
                                 {"mlp_ratio", "mlp_ratio"},
                                 {"mlp_dim", "mlp_hidden"},
                                 {"hidden_act", "act"},
                                 {"use_abs_pos", "absolute_pos"},
                                 {"use_rel_pos", "rel_pos"},
                                 {"output_channels", "out_chans"}}),
       .written = {.name = "SamVision",
                   .constants = R"({"attention_dropout":0.0,"initializer_range":1e-10,"qkv_bias":true})"}}};
}

const std::vector<std::string> kNotTheEncoder = {"prompt_encoder.*", "mask_decoder.*",
                                                 "shared_image_embedding.*", "pixel_mean", "pixel_std"};

Renames official_names() {
  Renames out;
  out.naming = "segment-anything";
  out.prefix = "image_encoder.";
  out.unused = kNotTheEncoder;
  return out;
}

/// timm's samvit. Its neck counts on, which is how the official one is named too.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"blocks.{i}.mlp.lin1", "blocks.{i}.mlp.fc1"},
      {"blocks.{i}.mlp.lin2", "blocks.{i}.mlp.fc2"},
      {"head", "head.fc"},
  };
  out.overrides = {{"", R"({"norm_eps":1e-5})"}};
  return out;
}

/// Hugging Face's SamModel and SamVisionModel, as on the hub.
Renames transformers_names() {
  Renames out;
  out.naming = "transformers";
  out.prefix = "vision_encoder.";
  out.rules = {
      {"patch_embed.proj", "patch_embed.projection"},
      {"blocks.{i}.norm1", "layers.{i}.layer_norm1"},
      {"blocks.{i}.norm2", "layers.{i}.layer_norm2"},
      {"blocks.{i}", "layers.{i}"},
      {"neck.0", "neck.conv1"},
      {"neck.1", "neck.layer_norm1"},
      {"neck.2", "neck.conv2"},
      {"neck.3", "neck.layer_norm2"},
  };
  out.unused = kNotTheEncoder;
  return out;
}

/// DeepSeek-OCR's `sam_model`: two more convolutions behind the neck.
Renames deepseek_names() {
  Renames out;
  out.naming = "deepseek-ai/DeepSeek-OCR";
  out.prefix = "model.sam_model.";
  out.overrides = {{"!num_classes", R"({"net_chans":[512,1024]})"}};
  return out;
}

std::vector<Renames> renames() {
  return {official_names(), timm_names(), transformers_names(), deepseek_names()};
}

}  // namespace
}  // namespace sam_image_encoder_model

const Family kSamImageEncoder =
    family<sam_image_encoder_model::SamImageEncoder, sam_image_encoder_model::variants,
           sam_image_encoder_model::renames, sam_image_encoder_model::from_shapes,
           sam_image_encoder_model::hub>("sam_image_encoder");

}  // namespace locant
