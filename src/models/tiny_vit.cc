// TinyViT: Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers",
// section 3.2 and figure 3; MobileSAM's image encoder (Zhang et al. 2023) is its 5M variant with the last
// merging at stride 1 and SAM's neck. Tensor names, stage paths and layout are those of microsoft/Cream and
// ChaoningZhang/MobileSAM; timm's are data in renames_tiny_vit.cc. Stage 0 convolves pictures; the others
// attend in windows whose padding comes before the norm: a padded token is a zero vector that the norm turns
// into its bias, and it acts as a key.
#include "models/tiny_vit.h"

#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "models/config_json.h"
#include "models/sam_neck.h"
#include "nn/conv_norm.h"
#include "nn/layers.h"
#include "nn/windows.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/levit_bias.h"

namespace locant {
namespace {

struct TinyVitConfig {
  std::string naming = "microsoft/Cream";
  Pair img_size = {224, 224};  // any size runs
  std::int64_t in_chans = 3, num_classes = 1000;
  std::vector<std::int64_t> dims = {64, 128, 160, 320}, depths = {2, 2, 6, 2}, heads = {2, 4, 5, 10},
                            windows = {7, 7, 14, 7};  // stage 0 has neither heads nor windows
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
void fields(Archive& archive, Config& c) {
  archive.field("naming", c.naming);
  archive.field("img_size", c.img_size);
  archive.field("in_chans", c.in_chans);
  archive.field("num_classes", c.num_classes);
  archive.field("dims", c.dims);
  archive.field("depths", c.depths);
  archive.field("heads", c.heads);
  archive.field("windows", c.windows);
  archive.field("downsample_strides", c.downsample_strides);
  archive.field("mlp_ratio", c.mlp_ratio);
  archive.field("mbconv_ratio", c.mbconv_ratio);
  archive.field("local_conv_kernel", c.local_conv_kernel);
  archive.field("norm_eps", c.norm_eps);
  archive.field("bn_eps", c.bn_eps);
  archive.field("neck_chans", c.neck_chans);
  archive.field("neck_norm_eps", c.neck_norm_eps);
  archive.field("unused_head", c.unused_head);
  archive.field("drop_path", c.drop_path);
  archive.only("qkv_bias", "full");
  archive.only("act", "gelu");
}

void check(const TinyVitConfig& c) {
  constexpr const char* kOp = "tiny_vit";
  const std::size_t stages = c.stages();
  require(
      stages >= 2 && stages <= 8 && c.depths.size() == stages && c.heads.size() == stages &&
          c.windows.size() == stages && c.downsample_strides.size() + 1 == stages,
      kOp,
      "{} dims, {} depths, {} heads, {} windows and {} strides; one of each a stage (2 to 8 of them) and a "
      "stride between stages were expected",
      stages, c.depths.size(), c.heads.size(), c.windows.size(), c.downsample_strides.size());
  require(c.in_chans > 0 && c.local_conv_kernel % 2 == 1 && c.local_conv_kernel <= 31, kOp,
          "in_chans {} must be at least 1 and local_conv_kernel {} odd, 31 at most", c.in_chans,
          c.local_conv_kernel);
  for (std::size_t s = 0; s < stages; ++s) {
    require(c.dims[s] > 1 && c.depths[s] > 0 && c.depths[s] <= 1024, kOp,
            "stage {}: width {} and {} blocks; widths start at 2, blocks are 1 to 1024", s, c.dims[s],
            c.depths[s]);
    if (s == 0) continue;
    require(c.heads[s] > 0 && c.dims[s] % c.heads[s] == 0, kOp,
            "stage {}: width {} does not divide into {} heads", s, c.dims[s], c.heads[s]);
    require(c.windows[s] > 0 && c.windows[s] <= 256, kOp, "stage {}: window {} must be from 1 to 256", s,
            c.windows[s]);
    require(c.downsample_strides[s - 1] == 1 || c.downsample_strides[s - 1] == 2, kOp,
            "stage {}: a stride of {}; there are 1 and 2", s, c.downsample_strides[s - 1]);
  }
  require(c.mlp_ratio > 0 && c.mlp_ratio < 1024 && c.mbconv_ratio > 0 && c.mbconv_ratio < 1024 &&
              c.drop_path >= 0 && c.drop_path < 1,
          kOp, "mlp_ratio {} and mbconv_ratio {} must be in (0, 1024) and drop_path {} in [0, 1)",
          c.mlp_ratio, c.mbconv_ratio, c.drop_path);
}

std::int64_t scaled(std::int64_t width, double ratio) {
  return static_cast<std::int64_t>(static_cast<double>(width) * ratio);
}

/// x + project(gelu(depthwise(gelu(expand x)))), and a GELU behind the sum.
class ConvBlock {
 public:
  ConvBlock(const Weights& w, const TinyVitConfig& c, float drop_path) : drop_path_(drop_path) {
    const std::int64_t C = c.dims[0], wide = scaled(C, c.mbconv_ratio);
    expand_ = ConvNorm(w / "conv1", C, wide, {.eps = c.bn_eps});
    depthwise_ = ConvNorm(w / "conv2", wide, wide, {.kernel = 3, .pad = 1, .groups = wide, .eps = c.bn_eps});
    project_ = ConvNorm(w / "conv3", wide, C, {.eps = c.bn_eps, .norm_init = Init::zeros()});
  }
  Var operator()(const Context& ctx, const Var& x) const {
    Var y = gelu(ctx, expand_(ctx, x));
    y = gelu(ctx, depthwise_(ctx, y));
    y = project_(ctx, y);
    if (ctx.train && drop_path_ > 0) y = drop_path(ctx, y, drop_path_);
    return gelu(ctx, add(ctx, x, y));
  }

 private:
  float drop_path_;
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

/// Tokens of a grid.
struct TokenGrid {
  Var tokens;  // (B, rows * columns, C)
  std::int64_t rows = 0, columns = 0;
};

/// x + attention in windows, a depthwise convolution over the grid, then + mlp.
class Block {
 public:
  Block(const Weights& w, const TinyVitConfig& c, std::size_t stage, float drop_path);
  void operator()(const Context& ctx, TokenGrid& x, const WindowMaps& maps) const;

 private:
  Var attend(const Context& ctx, const TokenGrid& x, const Var& skip, const WindowMaps& maps) const;
  /// (.., 3 C) packed by head, q | k | v of each, to q | k | v of all.
  Var by_part(const Context& ctx, const Var& qkv) const;

  std::string path_;
  std::int64_t heads_, width_;
  float drop_path_;
  LevitBias bias_;
  LayerNorm attn_norm_, mlp_norm_;
  Linear qkv_, proj_;
  ConvNorm local_conv_;
  Mlp mlp_;
};

Block::Block(const Weights& w, const TinyVitConfig& c, std::size_t stage, float drop_path)
    : path_(w.path()), heads_(c.heads[stage]), width_(c.dims[stage]), drop_path_(drop_path) {
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
  mlp_ = Mlp(w / "mlp", width_, scaled(width_, c.mlp_ratio));
}

Var Block::by_part(const Context& ctx, const Var& qkv) const {
  const std::int64_t B = qkv.dim(0), N = qkv.dim(1);
  const Var split = reshape(ctx, qkv, {B, N, heads_, 3, width_ / heads_});
  return reshape(ctx, permute(ctx, split, {0, 1, 3, 2, 4}), {B, N, 3 * width_});
}

Var Block::attend(const Context& ctx, const TokenGrid& x, const Var& skip, const WindowMaps& maps) const {
  const WindowLayout layout{.rows = x.rows, .columns = x.columns, .window = bias_.key};
  const Var qkv = by_part(ctx, qkv_(ctx, attn_norm_(ctx, x.tokens)));
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
    attend({.probe = ctx.probe},
           {Var(padded_grid(x.tokens.value(), layout)), layout.padded_rows(), layout.padded_columns()}, Var(),
           maps);
  return proj_(ctx, out, Activation::none, skip);
}

void Block::operator()(const Context& ctx, TokenGrid& x, const WindowMaps& maps) const {
  const bool drops = ctx.train && drop_path_ > 0;
  Var y = drops ? add(ctx, x.tokens, drop_path(ctx, attend(ctx, x, Var(), maps), drop_path_))
                : attend(ctx, x, x.tokens, maps);
  x.tokens = Var();
  y = images_to_tokens(ctx, local_conv_(ctx, tokens_to_images(ctx, y, x.rows, x.columns)));
  x.tokens = drops ? add(ctx, y, drop_path(ctx, mlp_(ctx, mlp_norm_(ctx, y)), drop_path_))
                   : mlp_(ctx, mlp_norm_(ctx, y), y);
}

class TinyVit final : public Model {
 public:
  TinyVit(TinyVitConfig config, const Weights& w);
  const std::string& family() const override {
    static const std::string name = "tiny_vit";
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
  TokenGrid encode(const Context& ctx, const Var& images) const;
  Var stem(const Context& ctx, const Var& images) const;
  void run_stage(const Context& ctx, std::size_t stage, TokenGrid& x) const;

  TinyVitConfig config_;
  ConvNorm stem1_, stem2_;
  std::vector<ConvBlock> conv_blocks_;
  std::vector<std::vector<Block>> blocks_;  // of stages 1, 2, ..
  std::vector<Merging> mergings_;           // behind stages 0, 1, ..
  LayerNorm norm_head_;
  Linear head_;
  SamNeck neck_;
  WindowMaps maps_;
};

TinyVit::TinyVit(TinyVitConfig config, const Weights& w) : Model(w), config_(std::move(config)) {
  const TinyVitConfig& c = config_;
  const Weights seq = w / "patch_embed" / "seq";
  stem1_ =
      ConvNorm(seq / 0, c.in_chans, c.dims[0] / 2, {.kernel = 3, .stride = 2, .pad = 1, .eps = c.bn_eps});
  stem2_ = ConvNorm(seq / 2, c.dims[0] / 2, c.dims[0], {.kernel = 3, .stride = 2, .pad = 1, .eps = c.bn_eps});
  std::int64_t count = 0, index = 0;
  for (const std::int64_t depth : c.depths) count += depth;
  const auto next_rate = [&] {
    return count > 1 ? static_cast<float>(c.drop_path * static_cast<double>(index++) /
                                          static_cast<double>(count - 1))
                     : 0.0f;
  };
  for (std::size_t s = 0; s < c.stages(); ++s) {
    const Weights at = w / "layers" / static_cast<std::int64_t>(s);
    if (s > 0) blocks_.emplace_back();
    for (std::int64_t b = 0; b < c.depths[s]; ++b) {
      if (s == 0)
        conv_blocks_.emplace_back(at / "blocks" / b, c, next_rate());
      else
        blocks_.back().emplace_back(at / "blocks" / b, c, s, next_rate());
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
  const Shape& shape = images.shape();
  require(shape.rank() == 4 && shape[0] > 0 && shape[1] == config_.in_chans && shape[2] > 0 && shape[3] > 0,
          "tiny_vit", "images of shape {}; (B, {}, H, W) was expected", shape.str(), config_.in_chans);
  const Var x = stem2_(ctx, gelu(ctx, stem1_(ctx, images)));
  ctx.show([] { return "patch_embed"; }, x);
  return x;
}

/// The merging in front of the stage has run.
void TinyVit::run_stage(const Context& ctx, std::size_t stage, TokenGrid& x) const {
  for (std::size_t b = 0; b < blocks_[stage - 1].size(); ++b) {
    blocks_[stage - 1][b](ctx, x, maps_);
    ctx.show([=] { return fmt::format("layers.{}.blocks.{}", stage, b); }, x.tokens);
  }
}

TokenGrid TinyVit::encode(const Context& ctx, const Var& images) const {
  Var picture = stem(ctx, images);
  for (const ConvBlock& block : conv_blocks_) picture = block(ctx, picture);
  ctx.show([] { return "layers.0.blocks"; }, picture);
  TokenGrid x;
  for (std::size_t s = 1; s < config_.stages(); ++s) {
    picture = mergings_[s - 1](ctx, s == 1 ? picture : tokens_to_images(ctx, x.tokens, x.rows, x.columns));
    x = {images_to_tokens(ctx, picture), picture.dim(2), picture.dim(3)};
    picture = Var();
    ctx.show([=] { return fmt::format("layers.{}", s - 1); }, x.tokens);
    run_stage(ctx, s, x);
    if (ctx.probe != nullptr)
      ctx.show([=] { return fmt::format("layers.{}.blocks", s); },
               tokens_to_images(Context{}, x.tokens, x.rows, x.columns));
  }
  ctx.show([&] { return fmt::format("layers.{}", config_.stages() - 1); }, x.tokens);
  return x;
}

Var TinyVit::forward(const Context& ctx, const Var& images) const {
  const TokenGrid x = encode(ctx, images);
  if (neck_.defined()) return neck_(ctx, x.tokens, x.rows, x.columns);
  const Var pooled = norm_head_(ctx, mean_pool(ctx, x.tokens));
  return head_.defined() ? head_(ctx, pooled) : pooled;
}

Features TinyVit::features(const Context& ctx, const Var& images) const {
  TokenGrid x = encode(ctx, images);
  Features out;
  out.cls = mean_pool(ctx, x.tokens);
  if (!neck_.defined()) out.cls = norm_head_(ctx, out.cls);
  out.patches = std::move(x.tokens);
  out.rows = x.rows;
  out.columns = x.columns;
  return out;
}

}  // namespace

std::unique_ptr<Model> make_tiny_vit(const std::string& config_json, const Weights& weights) {
  ConfigReader reader("tiny_vit", config_json);
  TinyVitConfig config;
  fields(reader, config);
  // What follows from the others, in descriptions that say it all the same.
  std::int64_t head_dim = 0;
  reader.field("head_dim", head_dim);
  const std::string own_pool = config.neck_chans > 0 ? "none" : "mean";
  std::string pool = own_pool;
  reader.field("pool", pool);
  reader.finish();
  check(config);
  for (std::size_t s = 1; s < config.stages(); ++s)
    require(head_dim == 0 || config.dims[s] == config.heads[s] * head_dim, "tiny_vit",
            "stage {}: {} heads of width {} are no {} channels", s, config.heads[s], head_dim,
            config.dims[s]);
  require(pool == own_pool, "tiny_vit", "pool is \"{}\"; a neck goes with none, else it is mean", pool);
  return std::make_unique<TinyVit>(std::move(config), weights);
}

void register_tiny_vit(std::vector<ModelEntry>& entries) {
  struct Size {
    const char *name, *dims, *heads;
    double drop_path;
  };
  constexpr Size kSizes[] = {{"5m", "[64,128,160,320]", "[2,4,5,10]", 0.0},
                             {"11m", "[64,128,256,448]", "[2,4,8,14]", 0.1},
                             {"21m", "[96,192,384,576]", "[3,6,12,18]", 0.2}};
  for (const Size& size : kSizes)
    for (const std::int64_t image : {224, 384, 512}) {
      if (image != 224 && size.drop_path < 0.2) continue;  // the large one alone
      const std::int64_t window = image == 224 ? 7 : image / 32;
      Preprocess preprocess;
      preprocess.rows = preprocess.columns = image;
      preprocess.crop_pct = image == 224 ? 0.95 : 1.0;
      const std::string brief = image == 224 ? fmt::format("tiny_vit_{}", size.name)
                                             : fmt::format("tiny_vit_{}_{}", size.name, image);
      const std::string windows = fmt::format("[{0},{0},{1},{0}]", window, 2 * window);
      entries.push_back({fmt::format("tiny_vit_{}_{}", size.name, image),
                         image == 224 ? std::vector<std::string>{brief} : std::vector<std::string>{},
                         "tiny_vit",
                         fmt::format(R"({{"img_size":{},"dims":{},"heads":{},"windows":{},"drop_path":{}}})",
                                     image, size.dims, size.heads, windows, size.drop_path),
                         preprocess, "TinyViT, Wu et al. 2022"});
    }
}

}  // namespace locant
