// CeiT: Yuan et al. 2021, "Incorporating Convolution Designs into Visual Transformers", figures 2
// (image-to-tokens), 3 (locally-enhanced feed-forward) and 4 (layer-wise class-token attention). Names:
// coeusguo/ceit. The class token passes by every feed-forward; those that the blocks leave are what the
// head's attention reads.
#include <fmt/format.h>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_norm.h"
#include "nn/lca_block.h"
#include "nn/leff.h"
#include "ops/layout.h"
#include "ops/pool2d.h"

namespace locant {
namespace ceit_model {
namespace {

constexpr std::int64_t kPoolStride = 2;

struct CeitConfig {
  PatchInput input = {.patch_size = {4, 4}};  // patches are those of the stem's map
  std::int64_t stem_kernel = 7, stem_stride = 2;
  std::vector<std::int64_t> stem_chans = {64};
  std::int64_t dim = 192, depth = 12, heads = 3, mlp_ratio = 4;
  bool qkv_bias = true;
  std::int64_t leff_kernel = 3;
  bool leff_batch_norm = true;
  float norm_eps = 1e-6f, bn_eps = 1e-5f;
  std::string pos_resize = "bicubic";  // of DeiT's fine-tuning, which made the files for 384
  double drop_path = 0.0;              // of the last block; rises linearly from 0

  /// Pixels of the picture a patch.
  std::int64_t stride() const { return stem_stride * kPoolStride * input.patch_size.rows; }
  /// Places along a side of the stem's map.
  std::int64_t stem_side(std::int64_t pixels) const {
    const std::int64_t convolved = (pixels + 2 * (stem_kernel / 2) - stem_kernel) / stem_stride + 1;
    return (convolved - 1) / kPoolStride + 1;
  }
  /// Patches of a picture; what is left at the right and bottom of the map is left out.
  Grid grid(Pair image) const {
    return {1, stem_side(image.rows) / input.patch_size.rows,
            stem_side(image.columns) / input.patch_size.columns};
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("stem_kernel", c.stem_kernel, range(1, 31));
  a.field("stem_stride", c.stem_stride, range(1, 31));
  a.field("stem_chans", c.stem_chans, at_least(1));
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("mlp_ratio", c.mlp_ratio, range(1, 64));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("leff_kernel", c.leff_kernel, range(1, 31));
  a.field("leff_batch_norm", c.leff_batch_norm);
  a.field("norm_eps", c.norm_eps);
  a.field("bn_eps", c.bn_eps);
  a.field("pos_resize", c.pos_resize);
  a.field("drop_path", c.drop_path, rate());
  a.only("stem_pad", c.stem_kernel / 2);
  a.only("stem_pool", "max3_stride2_pad1");
  a.only("lca", true);
  a.only("layer_pos_embed", true);
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("pos_embed_prefix", true);
  a.only("pool", "lca");
  only_usual(a);
}

void check(const std::string& op, const CeitConfig& c) {
  require(c.stem_chans.size() == 1, op, "{} stem_chans; one was expected: a convolution",
          c.stem_chans.size());
  require(c.stem_kernel % 2 == 1, op, "stem_kernel {} must be odd", c.stem_kernel);
  require(c.grid(c.input.img_size).tokens() > 0, op, "img_size {} x {} holds no patch", c.input.img_size.rows,
          c.input.img_size.columns);
}

/// x + attention(norm1 x), then + leff(norm2 x): of the class token, leff gives what it got.
class Block {
 public:
  Block(const Weights& w, const CeitConfig& c, float drop_path)
      : path_(w.path()),
        norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c.dim, c.heads, c.qkv_bias),
        leff_(w / "leff", {c.dim, c.mlp_ratio * c.dim, c.leff_kernel, c.leff_batch_norm, c.bn_eps}),
        residual_(drop_path) {}
  Var operator()(const Context& ctx, Var x, Grid grid) const {
    if (ctx.probe != nullptr) ctx.show([&] { return path_ + ".attn"; }, attention_({}, norm1_({}, x)));
    x = residual_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), skip); });
    return residual_(ctx, x, [&](const Var& skip) {
      const Var y = leff_(ctx, norm2_(ctx, x), grid, 1);
      ctx.show([&] { return path_ + ".leff"; }, y);
      return skip.defined() ? add(ctx, skip, y) : y;
    });
  }

 private:
  std::string path_;
  LayerNorm norm1_, norm2_;
  SelfAttention attention_;
  LeffLayer leff_;
  Residual residual_;
};

class Ceit final : public ImageModelOf<CeitConfig> {
 public:
  Ceit(const Family& family, CeitConfig config, const Weights& w);
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, encode(ctx, images, nullptr));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Features out;
    out.cls = encode(ctx, images, &out);
    return out;
  }

 private:
  /// What the head sees, (B, C). `features`, when given, gets the patches; no norm is made for them.
  Var encode(const Context& ctx, const Var& images, Features* features) const;
  Var stem(const Context& ctx, const Var& images) const;

  ConvNorm conv_;
  PatchEmbed proj_;
  Prefix cls_;
  LearnedAbsolute position_;
  std::vector<Block> blocks_;
  Var layer_position_;  // (1, depth, C)
  LcaBlock lca_;
  LayerNorm norm_;
  Head head_;
};

Ceit::Ceit(const Family& family, CeitConfig config, const Weights& w)
    : ImageModelOf(family, std::move(config)) {
  const CeitConfig& c = this->c();
  const std::int64_t stem = c.stem_chans[0];
  const Weights backbone = w / "i2t" / "backbone";
  conv_ =
      ConvNorm(backbone / "conv", backbone / "bn", c.input.in_chans, stem,
               {.kernel = c.stem_kernel, .stride = c.stem_stride, .pad = c.stem_kernel / 2, .eps = c.bn_eps});
  proj_ = PatchEmbed(w / "i2t" / "proj", stem, c.input.patch_size.rows, c.input.patch_size.columns, c.dim);
  cls_.add(w, "cls_token", 1, c.dim, Init::trunc_normal(0.02f));
  position_ = PositionTable{c.grid(c.input.img_size), 1, c.dim, c.pos_resize}(w);
  const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
  for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c, rates[i]);
  layer_position_ = w.get("pos_layer_embed", {1, c.depth, c.dim}, Init::zeros());
  LcaBlock::Options lca;
  lca.width = c.dim;
  lca.heads = c.heads;
  lca.mlp_ratio = c.mlp_ratio;
  lca.qkv_bias = c.qkv_bias;
  lca.norm_eps = c.norm_eps;
  lca_ = LcaBlock(w / "lca", lca);
  norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
  head_ = Head(w / "head", c.dim, c.input.num_classes);
}

Var Ceit::stem(const Context& ctx, const Var& images) const {
  Pool2dOptions pool;
  pool.kernel_rows = pool.kernel_columns = 3;
  pool.stride_rows = pool.stride_columns = kPoolStride;
  pool.pad_rows = pool.pad_columns = 1;
  return ctx.shown("i2t.backbone", max_pool2d(ctx, conv_(ctx, images), pool));
}

Var Ceit::encode(const Context& ctx, const Var& images, Features* features) const {
  require_images(op(), images, c().input.in_chans);
  const Shape& shape = images.shape();
  const Grid grid = c().grid({shape[2], shape[3]});
  require(grid.tokens() > 0, op(), "an image of {} x {} holds no patch; {} x {} is the least", shape[2],
          shape[3], c().stride(), c().stride());
  Var x = ctx.shown("i2t", proj_(ctx, stem(ctx, images)));
  x = position_.add_to(ctx, cls_.before(ctx, x), grid.rows, grid.columns);
  std::vector<Var> classes;  // of each block, (B, 1, C)
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    x = ctx.shown("blocks", static_cast<std::int64_t>(i), blocks_[i](ctx, std::move(x), grid));
    classes.push_back(select_rows(ctx, x, 0, 1));
  }
  if (features != nullptr) features->levels = {{cls_.cut(ctx, x), grid, c().stride()}};
  const Var layers = add(ctx, concat_rows(ctx, classes), reshape(ctx, layer_position_, {c().depth, c().dim}));
  const Var last = ctx.shown("norm", norm_(ctx, ctx.shown("lca", lca_(ctx, layers))));  // (B, 1, C)
  return Prefix::token(ctx, last, 0);
}

void from_shapes(const NamedShapes& s, CeitConfig& c) {
  const std::string stem = "i2t.backbone.conv.weight";
  c.stem_chans = {s.dim(stem, 0)};
  c.input.from_shapes(s, "i2t.proj.weight", "head.weight");
  c.input.in_chans = s.dim(stem, 1);
  c.stem_kernel = s.dim(stem, 2);
  s.assume("stem_stride", c.stem_stride);
  c.dim = s.dim("i2t.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.mlp_ratio = s.dim("blocks.0.leff.conv1.weight", 0) / c.dim;
  c.leff_kernel = s.dim("blocks.0.leff.conv2.weight", 2);
  c.leff_batch_norm = s.has("blocks.0.leff.bn1.weight");
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  assume_heads("ceit", s, c.dim, c.heads);
  const std::int64_t patches = s.dim("pos_embed", 1) - 1;
  if (s.told("img_size") && c.grid(c.input.img_size).tokens() == patches) return;
  const Pair square = NamedShapes::square(patches);
  require(square.rows > 0, "ceit", "a table of {} patches is no square grid, so that img_size must be told",
          patches);
  c.input.img_size = {square.rows * c.stride(), square.columns * c.stride()};
}

std::vector<Variant<CeitConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, heads;
  };
  std::vector<Variant<CeitConfig>> out;
  for (const Size& size : {Size{"tiny", 192, 3}, Size{"small", 384, 6}, Size{"base", 768, 12}})
    for (const std::int64_t image : {224, 384}) {
      if (image == 384 && size.dim > 384) continue;
      Variant<CeitConfig>& v = out.emplace_back();
      v.name = fmt::format("ceit_{}_patch16_{}", size.name, image);
      v.config.input.img_size = {image, image};
      v.config.dim = size.dim;
      v.config.heads = size.heads;
      v.config.drop_path = 0.1;
      v.preprocess = {.rows = image, .columns = image, .crop_pct = image == 224 ? 0.875 : 1.0};
      v.note = "CeiT, Yuan et al. 2021: convolutions in the stem and in every feed-forward";
      if (image == 224) v.aliases = {fmt::format("ceit_{}", size.name)};
    }
  return out;
}

std::vector<Renames> renames() { return same_names({"coeusguo/ceit"}); }

}  // namespace
}  // namespace ceit_model

const Family kCeit =
    family<ceit_model::Ceit, ceit_model::variants, ceit_model::renames, ceit_model::from_shapes>("ceit");

}  // namespace locant
