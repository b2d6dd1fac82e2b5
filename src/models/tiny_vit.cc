// TinyViT: Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers",
// section 3.2 and figure 3; MobileSAM's image encoder (Zhang et al. 2023) is its 5M variant with the last
// merging at stride 1 and SAM's neck, whose forward gives images (B, neck_chans, rows, columns). Tensor
// names, stage paths and layout are those of microsoft/Cream and ChaoningZhang/MobileSAM. Stage 0 convolves
// pictures; the others attend in windows whose padding comes before the norm: a padded token is a zero vector
// that the norm turns into its bias, and it acts as a key.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "models/sam_neck.h"
#include "nn/conv_norm.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/levit_bias.h"

namespace locant {
namespace tiny_vit_model {
namespace {

constexpr std::size_t kMostStages = 8;
constexpr std::int64_t kStemStride = 4;

struct TinyVitConfig {
  Pair img_size = {224, 224};  // any size runs
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> dims = {64, 128, 160, 320}, depths = {2, 2, 6, 2}, heads = {2, 4, 5, 10},
                            windows = {7, 7, 14, 7};  // stage 0 has neither heads nor windows
  std::int64_t head_dim = 0;  // dims / heads, in descriptions that say it all the same
  std::vector<std::int64_t> downsample_strides = {2, 2, 2};
  double mlp_ratio = 4.0, mbconv_ratio = 4.0;
  std::int64_t local_conv_kernel = 3;
  float norm_eps = 1e-5f, bn_eps = 1e-5f;
  std::int64_t neck_chans = 0;  // SAM's neck instead of pool and head
  float neck_norm_eps = 1e-6f;
  std::int64_t unused_head = 0;  // classes of a head that the file has and nobody reads (MobileSAM)
  double drop_path = 0.0;        // of the last block; rises linearly from 0

  std::size_t stages() const { return dims.size(); }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("img_size", c.img_size);
  a.field("in_chans", c.in_chans, at_least(1));
  a.field("num_classes", c.num_classes);
  a.field("dims", c.dims, at_least(2));
  a.field("depths", c.depths, range(1, 1024));
  a.field("heads", c.heads);
  a.field("windows", c.windows);
  a.field("head_dim", c.head_dim);
  a.field("downsample_strides", c.downsample_strides, range(1, 2));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("mbconv_ratio", c.mbconv_ratio, below(1024));
  a.field("local_conv_kernel", c.local_conv_kernel, range(1, 31));
  a.field("norm_eps", c.norm_eps);
  a.field("bn_eps", c.bn_eps);
  a.field("neck_chans", c.neck_chans);
  a.field("neck_norm_eps", c.neck_norm_eps);
  a.field("unused_head", c.unused_head);
  a.field("drop_path", c.drop_path, rate());
  a.only("qkv_bias", "full");
  a.only("act", "gelu");
  a.only("pool", c.neck_chans > 0 ? "none" : "mean");
}

void check(const std::string& op, const TinyVitConfig& c) {
  const std::size_t stages = c.stages();
  require(
      stages >= 2 && stages <= kMostStages && c.depths.size() == stages && c.heads.size() == stages &&
          c.windows.size() == stages && c.downsample_strides.size() + 1 == stages,
      op,
      "{} dims, {} depths, {} heads, {} windows and {} strides; one of each a stage (2 to {} of them) and a "
      "stride between stages were expected",
      stages, c.depths.size(), c.heads.size(), c.windows.size(), c.downsample_strides.size(), kMostStages);
  require(c.local_conv_kernel % 2 == 1, op, "local_conv_kernel {} must be odd", c.local_conv_kernel);
  for (std::size_t s = 1; s < stages; ++s) {
    require(c.heads[s] > 0 && c.dims[s] % c.heads[s] == 0, op,
            "stage {}: width {} does not divide into {} heads", s, c.dims[s], c.heads[s]);
    require(c.head_dim == 0 || c.dims[s] == c.heads[s] * c.head_dim, op,
            "stage {}: {} heads of width {} are no {} channels", s, c.heads[s], c.head_dim, c.dims[s]);
    require(c.windows[s] > 0 && c.windows[s] <= 256, op, "stage {}: window {} must be from 1 to 256", s,
            c.windows[s]);
  }
}

/// x + project(gelu(depthwise(gelu(expand x)))), and a GELU behind the sum.
class ConvBlock {
 public:
  ConvBlock(const Weights& w, const TinyVitConfig& c, float drop_path) : residual_(drop_path) {
    const std::int64_t C = c.dims[0], wide = scaled_width(C, c.mbconv_ratio);
    expand_ = ConvNorm(w / "conv1", C, wide, {.eps = c.bn_eps});
    depthwise_ = ConvNorm(w / "conv2", wide, wide, {.kernel = 3, .pad = 1, .groups = wide, .eps = c.bn_eps});
    project_ = ConvNorm(w / "conv3", wide, C, {.eps = c.bn_eps, .norm_init = Init::zeros()});
  }
  Var operator()(const Context& ctx, const Var& x) const {
    return gelu(ctx, residual_(ctx, x, [&](const Var& skip) {
                  Var y = gelu(ctx, expand_(ctx, x));
                  y = gelu(ctx, depthwise_(ctx, y));
                  y = project_(ctx, y);
                  return skip.defined() ? add(ctx, skip, y) : y;
                }));
  }

 private:
  Residual residual_;
  ConvNorm expand_, depthwise_, project_;
};

/// 1x1, GELU, 3x3 depthwise with the stride, GELU, 1x1: images (B, in, H, W) -> (B, out, H', W').
class Merging {
 public:
  Merging() = default;
  Merging(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t stride, float eps)
      : conv1_(w / "conv1", in, out, {.eps = eps}),
        conv2_(w / "conv2", out, out, {.kernel = 3, .stride = stride, .pad = 1, .groups = out, .eps = eps}),
        conv3_(w / "conv3", out, out, {.eps = eps}) {}
  Var operator()(const Context& ctx, const Var& x) const {
    return conv3_(ctx, gelu(ctx, conv2_(ctx, gelu(ctx, conv1_(ctx, x)))));
  }

 private:
  ConvNorm conv1_, conv2_, conv3_;
};

/// x + attention in windows, a depthwise convolution over the grid, then + mlp.
class Block {
 public:
  Block(const Weights& w, const TinyVitConfig& c, std::size_t stage, float drop_path);
  void operator()(const Context& ctx, Features::Level& x, const WindowMaps& maps) const;

 private:
  Var attend(const Context& ctx, const Var& tokens, Grid grid, const Var& skip, const WindowMaps& maps) const;
  /// (.., 3 C) packed by head, q | k | v of each, to q | k | v of all.
  Var by_part(const Context& ctx, const Var& qkv) const;

  std::string path_;
  std::int64_t heads_, width_;
  Residual residual_;
  LevitBias bias_;
  LayerNorm attn_norm_, mlp_norm_;
  Linear qkv_, proj_;
  ConvNorm local_conv_;
  Mlp mlp_;
};

Block::Block(const Weights& w, const TinyVitConfig& c, std::size_t stage, float drop_path)
    : path_(w.path()), heads_(c.heads[stage]), width_(c.dims[stage]), residual_(drop_path) {
  const Weights attn = w / "attn";
  const Window window{c.windows[stage], c.windows[stage]};
  bias_ = {window, attn.get(LevitBias::kTable, {heads_, window.tokens()}, Init::zeros(), {.decay = false})};
  attn_norm_ = LayerNorm(attn / "norm", width_, c.norm_eps);
  qkv_ = Linear(attn / "qkv", width_, 3 * width_);
  proj_ = Linear(attn / "proj", width_, width_);
  local_conv_ = ConvNorm(
      w / "local_conv", width_, width_,
      {.kernel = c.local_conv_kernel, .pad = c.local_conv_kernel / 2, .groups = width_, .eps = c.bn_eps});
  mlp_norm_ = LayerNorm(w / "mlp" / "norm", width_, c.norm_eps);
  mlp_ = Mlp(w / "mlp", width_, scaled_width(width_, c.mlp_ratio));
}

Var Block::by_part(const Context& ctx, const Var& qkv) const {
  const std::int64_t B = qkv.dim(0), N = qkv.dim(1);
  const Var split = reshape(ctx, qkv, {B, N, heads_, 3, width_ / heads_});
  return reshape(ctx, permute(ctx, split, {0, 1, 3, 2, 4}), {B, N, 3 * width_});
}

Var Block::attend(const Context& ctx, const Var& tokens, Grid grid, const Var& skip,
                  const WindowMaps& maps) const {
  const WindowLayout layout{.rows = grid.rows, .columns = grid.columns, .window = bias_.key};
  const Var qkv = by_part(ctx, qkv_(ctx, attn_norm_(ctx, tokens)));
  AttentionOptions options;
  options.heads = heads_;
  options.rows = maps.rows(layout);
  options.terms = {levit_bias_term(ctx, bias_, heads_)};
  if (layout.pads()) {
    const Var zero(Tensor::zeros({1, 1, width_}));
    options.pad_bias = reshape(ctx, by_part(ctx, qkv_(ctx, attn_norm_(ctx, zero))), {3 * width_});
  }
  const Var out = attention(ctx, qkv, options);
  if (ctx.probe != nullptr && !layout.pads())
    ctx.show([&] { return path_ + ".attn"; },
             Var(window_order(proj_(Context{}, out).value(), *options.rows)));
  if (ctx.probe != nullptr && layout.pads())  // the sources' windows hold padded queries, too
    attend({.probe = ctx.probe}, Var(padded_grid(tokens.value(), layout)),
           {1, layout.padded_rows(), layout.padded_columns()}, Var(), maps);
  return proj_(ctx, out, Activation::none, skip);
}

void Block::operator()(const Context& ctx, Features::Level& x, const WindowMaps& maps) const {
  Var y =
      residual_(ctx, x.tokens, [&](const Var& skip) { return attend(ctx, x.tokens, x.grid, skip, maps); });
  x.tokens = Var();
  y = local_conv_.of_tokens(ctx, "tiny_vit", y, x.grid);
  x.tokens = residual_(ctx, y, [&](const Var& skip) { return mlp_(ctx, mlp_norm_(ctx, y), skip); });
}

class TinyVit final : public ImageModelOf<TinyVitConfig> {
 public:
  TinyVit(const Family& family, TinyVitConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  using Level = Features::Level;
  /// The last stage's tokens. `levels`, when given, gets every stage's.
  Level encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const;
  Var stem(const Context& ctx, const Var& images) const;
  void run_stage(const Context& ctx, std::size_t stage, Level& x) const;

  ConvNorm stem1_, stem2_;
  std::vector<ConvBlock> conv_blocks_;
  std::vector<std::vector<Block>> blocks_;  // of stages 1, 2, ..
  std::vector<Merging> mergings_;           // behind stages 0, 1, ..
  LayerNorm norm_head_;
  Linear head_;
  SamNeck neck_;
  WindowMaps maps_;
};

TinyVit::TinyVit(const Family& family, TinyVitConfig config, const Weights& w)
    : ImageModelOf(family, std::move(config)) {
  const TinyVitConfig& c = this->c();
  const Weights seq = w / "patch_embed" / "seq";
  stem1_ =
      ConvNorm(seq / 0, c.in_chans, c.dims[0] / 2, {.kernel = 3, .stride = 2, .pad = 1, .eps = c.bn_eps});
  stem2_ = ConvNorm(seq / 2, c.dims[0] / 2, c.dims[0], {.kernel = 3, .stride = 2, .pad = 1, .eps = c.bn_eps});
  const std::vector<float> rates = drop_rates(std::reduce(c.depths.begin(), c.depths.end()), c.drop_path);
  auto rate = rates.begin();
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / "layers" / static_cast<std::int64_t>(s);
    if (s > 0) blocks_.emplace_back();
    for (std::int64_t b = 0; b < c.depths[s]; ++b) {
      if (s == 0)
        conv_blocks_.emplace_back(at / "blocks" / b, c, *rate++);
      else
        blocks_.back().emplace_back(at / "blocks" / b, c, s, *rate++);
    }
    if (s + 1 < c.stages())
      mergings_.emplace_back(at / "downsample", c.dims[s], c.dims[s + 1], c.downsample_strides[s], c.bn_eps);
  }
  const std::int64_t width = c.dims.back(), classes = c.unused_head > 0 ? c.unused_head : c.num_classes;
  if (c.neck_chans > 0) neck_ = SamNeck(w / "neck", width, c.neck_chans, c.neck_norm_eps);
  if (c.neck_chans > 0 && c.unused_head == 0) return;
  norm_head_ = LayerNorm(w / "norm_head", width, c.norm_eps);
  if (classes > 0) head_ = Linear(w / "head", width, classes);
}

Var TinyVit::stem(const Context& ctx, const Var& images) const {
  require_images(op(), images, c().in_chans);
  const Var x = stem2_(ctx, gelu(ctx, stem1_(ctx, images)));
  ctx.show([] { return "patch_embed"; }, x);
  return x;
}

/// The merging in front of the stage has run.
void TinyVit::run_stage(const Context& ctx, std::size_t stage, Level& x) const {
  for (std::size_t b = 0; b < blocks_[stage - 1].size(); ++b) {
    blocks_[stage - 1][b](ctx, x, maps_);
    ctx.show([=] { return fmt::format("layers.{}.blocks.{}", stage, b); }, x.tokens);
  }
  if (ctx.probe != nullptr)
    ctx.show([=] { return fmt::format("layers.{}.blocks", stage); },
             tokens_to_images(Context{}, x.tokens, x.grid.rows, x.grid.columns));
}

Features::Level TinyVit::encode(const Context& ctx, const Var& images, std::vector<Level>* levels) const {
  Var picture = stem(ctx, images);
  for (const ConvBlock& block : conv_blocks_) picture = block(ctx, picture);
  ctx.show([] { return "layers.0.blocks"; }, picture);
  Level x = {{}, {1, picture.dim(2), picture.dim(3)}, kStemStride};
  if (levels != nullptr) levels->push_back({images_to_tokens(ctx, picture), x.grid, x.stride});
  for (std::size_t s = 1; s < c().stages(); ++s) {
    picture = mergings_[s - 1](
        ctx, s == 1 ? picture : tokens_to_images(ctx, x.tokens, x.grid.rows, x.grid.columns));
    x = {images_to_tokens(ctx, picture),
         {1, picture.dim(2), picture.dim(3)},
         x.stride * c().downsample_strides[s - 1]};
    picture = Var();
    ctx.show([=] { return fmt::format("layers.{}", s - 1); }, x.tokens);
    run_stage(ctx, s, x);
    if (levels != nullptr) levels->push_back(x);
  }
  ctx.show([&] { return fmt::format("layers.{}", c().stages() - 1); }, x.tokens);
  return x;
}

Var TinyVit::forward(const Context& ctx, const Var& images) const {
  const Level x = encode(ctx, images, nullptr);
  if (neck_.defined()) return neck_(ctx, x.tokens, x.grid.rows, x.grid.columns);
  const Var pooled = norm_head_(ctx, mean_pool(ctx, x.tokens));
  return head_.defined() ? head_(ctx, pooled) : pooled;
}

Features TinyVit::features(const Context& ctx, const Var& images) const {
  Features out;
  out.cls = mean_pool(ctx, encode(ctx, images, &out.levels).tokens);
  if (!neck_.defined()) out.cls = norm_head_(ctx, out.cls);
  return out;
}

/// A stage's own numbers; stage 0 has only a width and a depth.
void stage_from_shapes(const NamedShapes& s, std::size_t stage, TinyVitConfig& c) {
  const std::string blocks = fmt::format("layers.{}.blocks", stage);
  c.depths.push_back(s.count(blocks, stage == 0 ? ".conv1.c.weight" : ".attn.qkv.weight"));
  if (stage == 0) return;
  const std::string table = blocks + ".0.attn.attention_biases";
  const std::int64_t side = NamedShapes::square(s.dim(table, 1)).rows;
  require(side > 0, "tiny_vit", "{} is {}; its second extent must be a window's side squared", table,
          s.at(table).str());
  c.heads.push_back(s.dim(table, 0));
  c.windows.push_back(side);
}

void from_shapes(const NamedShapes& s, TinyVitConfig& c) {
  const auto merging = [](std::size_t stage) {
    return fmt::format("layers.{}.downsample.conv1.c.weight", stage);
  };
  c.in_chans = s.dim("patch_embed.seq.0.c.weight", 1);
  c.dims = {s.dim("patch_embed.seq.2.c.weight", 0)};
  do c.dims.push_back(s.dim(merging(c.stages() - 1), 0));
  while (c.stages() < kMostStages && s.has(merging(c.stages() - 1)));
  // Stage 0 has neither heads nor windows: what the released variants say there.
  const std::int64_t first_heads = std::max<std::int64_t>(c.dims[0] / 32, 1);
  c.heads = {s.told("heads") && !c.heads.empty() ? c.heads[0] : first_heads};
  c.windows = {s.told("windows") && !c.windows.empty() ? c.windows[0] : 0};
  c.depths = {};
  for (std::size_t stage = 0; stage < c.stages(); ++stage) stage_from_shapes(s, stage, c);
  if (c.windows[0] == 0) c.windows[0] = c.windows[1];
  s.ratio("layers.0.blocks.0.conv1.c.weight", c.mbconv_ratio);
  s.ratio("layers.1.blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.local_conv_kernel = s.dim("layers.1.blocks.0.local_conv.c.weight", 2);
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  std::vector<std::int64_t> strides(c.stages() - 1, 2);
  std::int64_t image = 32 * c.windows.back();
  c.unused_head = c.neck_chans = 0;
  if (s.has("neck.0.weight")) {
    c.neck_chans = s.dim("neck.0.weight", 0);
    c.unused_head = std::exchange(c.num_classes, 0);
    strides.back() = 1;  // SAM's embedding has a 16th of the image's sides
    c.downsample_strides = strides;
    image = 1024;
  } else {
    s.assume("downsample_strides", c.downsample_strides, strides);
  }
  s.assume("img_size", c.img_size, Pair{image, image});
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<TinyVitConfig>> variants() {
  struct Size {
    const char* name;
    std::vector<std::int64_t> dims, heads;
    double drop_path;
  };
  const Size sizes[] = {{"5m", {64, 128, 160, 320}, {2, 4, 5, 10}, 0.0},
                        {"11m", {64, 128, 256, 448}, {2, 4, 8, 14}, 0.1},
                        {"21m", {96, 192, 384, 576}, {3, 6, 12, 18}, 0.2}};
  std::vector<Variant<TinyVitConfig>> out;
  for (const Size& size : sizes)
    for (const std::int64_t image : {224, 384, 512}) {
      if (image != 224 && size.drop_path < 0.2) continue;  // the large one alone
      const std::int64_t window = image / 32;
      out.push_back({fmt::format("tiny_vit_{}_{}", size.name, image),
                     {.img_size = {image, image},
                      .dims = size.dims,
                      .heads = size.heads,
                      .windows = {window, window, 2 * window, window},
                      .drop_path = size.drop_path},
                     {.rows = image, .columns = image, .crop_pct = image == 224 ? 0.95 : 1.0},
                     "TinyViT, Wu et al. 2022"});
      if (image == 224) out.back().aliases = {fmt::format("tiny_vit_{}", size.name)};
    }
  return out;
}

// Sources of the names: the state dicts of the libraries.

/// timm merges at the start of a stage: our "layers.0" is what its stage 1 begins with.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"patch_embed.seq.0.c", "patch_embed.conv1.conv"},
      {"patch_embed.seq.0", "patch_embed.conv1"},
      {"patch_embed.seq.2.c", "patch_embed.conv2.conv"},
      {"patch_embed.seq.2", "patch_embed.conv2"},
      {"layers.{s}.downsample.conv{k}.c", "stages.{s+1}.downsample.conv{k}.conv"},
      {"layers.{s}.downsample", "stages.{s+1}.downsample"},
      {"layers.{s}.blocks.{b}.conv{k}.c", "stages.{s}.blocks.{b}.conv{k}.conv"},
      {"layers.{s}.blocks.{b}.local_conv.c", "stages.{s}.blocks.{b}.local_conv.conv"},
      {"layers.{s}.blocks", "stages.{s}", true},
      {"layers.{s}.blocks", "stages.{s}.blocks"},
      {"layers.{s}", "stages.{s+1}.downsample", true},
      {"norm_head", "head.norm"},
      {"head", "head.fc"},
  };
  return out;
}

std::vector<Renames> renames() {
  Renames microsoft;
  microsoft.naming = "microsoft/Cream";
  Renames mobile_sam;  // the image encoder of the file alone
  mobile_sam.naming = "ChaoningZhang/MobileSAM";
  mobile_sam.prefix = "image_encoder.";
  mobile_sam.unused = {"prompt_encoder.*", "mask_decoder.*", "pixel_mean", "pixel_std"};
  std::vector<Renames> out = {microsoft, mobile_sam, timm_names()};
  for (Renames& names : out) names.derived = {"*.num_batches_tracked", "*.attention_bias_idxs", "*.attn.ab"};
  return out;
}

}  // namespace
}  // namespace tiny_vit_model

const Family kTinyVit = family<tiny_vit_model::TinyVit, tiny_vit_model::variants, tiny_vit_model::renames,
                               tiny_vit_model::from_shapes>("tiny_vit");

}  // namespace locant
