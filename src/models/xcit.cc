// XCiT: El-Nouby et al. 2021, "XCiT: Cross-Covariance Image Transformers", figures 1 (cross-covariance
// attention) and 2 (the layer). Channels attend to each other, D x D a head, so that the cost is linear in
// the tokens; a Fourier code of the patches' places and two depthwise convolutions in every layer tell them
// apart. The class token joins them behind the last layer, in CaiT's class attention. Names:
// facebookresearch/xcit; timm has class attention's q, k and v apart.
#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_layers.h"
#include "nn/conv_norm.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"
#include "position/fourier.h"
#include "position/shared/token_grid.h"

namespace locant {
namespace xcit_model {
namespace {

constexpr const char* kName = "xcit";

struct XcitConfig {
  PatchInput input = {};  // img_size computes nothing: any size runs
  std::int64_t dim = 128, depth = 12, class_depth = 2, heads = 4;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  bool tokens_norm = false;  // class attention norms patches too, not the class token alone; in all but nano
  float norm_eps = 1e-6f, bn_eps = 1e-5f;
  double layer_scale_init = 1.0;
  double drop_path = 0.0;  // of every block alike; not of the class token's

  /// Convolutions of stride 2 that make a patch.
  std::int64_t stem() const { return input.patch_size.rows == 8 ? 3 : 4; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("class_depth", c.class_depth, range(1, 1024));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("tokens_norm", c.tokens_norm);
  a.field("norm_eps", c.norm_eps);
  a.field("bn_eps", c.bn_eps);
  a.field("layer_scale_init", c.layer_scale_init, range(0, 1024));
  a.field("drop_path", c.drop_path, rate());
  a.only("patch_embed", fmt::format("conv3_stride2_x{}", c.stem()));
  a.only("pos_embed", "fourier");
  a.only("fourier_hidden", kFourierHidden);
  a.only("temperature", 10000.0);
  a.only("l2_eps", 1e-12);
  a.only("lpi_kernel", std::int64_t{3});
  a.only("layer_scale", true);
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("act", "gelu");
  a.only("pool", "cls");
}

void check(const std::string& op, const XcitConfig& c) {
  const Pair& patch = c.input.patch_size;
  require(patch.rows == patch.columns && (patch.rows == 8 || patch.rows == 16), op,
          "patch_size {} x {}; convolutions make patches of 8 or 16", patch.rows, patch.columns);
  const std::int64_t parts = std::int64_t{1} << (c.stem() - 1);
  require(c.dim % parts == 0, op, "dim {}: the first convolution has one of {} parts of it", c.dim, parts);
  require(c.dim / c.heads <= 256, op, "dim {} and {} heads: a head has at most 256 channels", c.dim, c.heads);
  require(scaled_width(c.dim, c.mlp_ratio) > 0, op, "mlp_ratio {} leaves dim {} no hidden channel",
          c.mlp_ratio, c.dim);
}

/// A = softmax(t q^T k) of q and k with columns of length 1, each head's channels by its channels; A v^T.
class CrossCovarianceAttention {
 public:
  CrossCovarianceAttention(const Weights& w, const XcitConfig& c)
      : heads_(c.heads),
        temperature_(w.get("temperature", {c.heads, 1, 1}, Init::ones(), {.decay = false})),
        qkv_(w / "qkv", c.dim, 3 * c.dim, {.bias = c.qkv_bias}),
        proj_(w / "proj", c.dim, c.dim) {}
  /// x (B, N, C) -> the same.
  Var operator()(const Context& ctx, const Var& x) const {
    const std::int64_t B = x.dim(0), N = x.dim(1), C = x.dim(2), D = C / heads_;
    const Var qkv = permute(ctx, reshape(ctx, qkv_(ctx, x), {B, N, 3, heads_, D}), {2, 0, 3, 4, 1});
    const auto part = [&](std::int64_t t) {
      return reshape(ctx, slice_axis(ctx, qkv, 0, t, t + 1), {B, heads_, D, N});
    };
    const Var scores =
        product(ctx, l2_normalize(ctx, part(0)), l2_normalize(ctx, part(1)), {.transpose_b = true});
    const Var y = product(ctx, softmax(ctx, multiply(ctx, scores, temperature_)), part(2));
    return proj_(ctx, reshape(ctx, permute(ctx, y, {0, 3, 1, 2}), {B, N, C}));
  }

 private:
  std::int64_t heads_;
  Var temperature_;
  Linear qkv_, proj_;
};

/// Local patch interaction: conv2(bn(gelu(conv1 x))), depthwise.
class LocalPatchInteraction {
 public:
  LocalPatchInteraction(const Weights& w, const XcitConfig& c) : packs_(w.mode() == WeightMode::inference) {
    const Conv2d::Options depthwise = Conv2d::square(3, 1, 1, c.dim);
    const auto convolution = [&](const char* name, Conv2d& plain, PackedDepthwise& packed) {
      if (packs_)
        packed = Conv2d::source(w / name, c.dim, c.dim, depthwise).depthwise(depthwise.conv);
      else
        plain = Conv2d(w / name, c.dim, c.dim, depthwise);
    };
    convolution("conv1", conv1_, packed1_);
    norm_ = BatchNorm(w / "bn", c.dim,
                      {.eps = c.bn_eps, .channels = packs_ ? ChannelAxis::last : ChannelAxis::second});
    convolution("conv2", conv2_, packed2_);
  }
  /// x (B, N, C) of the grid -> the same.
  Var operator()(const Context& ctx, const Var& x, const Grid& grid) const {
    if (packs_) {
      const Var y = packed_on_grid(kName, packed1_, x, grid, 0, Activation::gelu);
      return packed_on_grid(kName, packed2_, norm_(ctx, y), grid, 0);
    }
    return on_grid(ctx, kName, x, grid, 0, [&](const Var& images) {
      return conv2_(ctx, norm_(ctx, gelu(ctx, conv1_(ctx, images))));
    });
  }

 private:
  bool packs_;
  Conv2d conv1_, conv2_;
  BatchNorm norm_;
  PackedDepthwise packed1_, packed2_;  // of inference
};

Var layer_scale_of(const Weights& w, const char* name, const XcitConfig& c) {
  return w.get(name, {c.dim}, Init::constant(static_cast<float>(c.layer_scale_init)));
}

/// x + gamma1 attention(norm1 x), then + gamma3 local_mp(norm3 x), then + gamma2 mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const XcitConfig& c)
      : norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        norm3_(w / "norm3", c.dim, c.norm_eps),
        attn_(w / "attn", c),
        local_(w / "local_mp", c),
        mlp_(w / "mlp", c.dim, scaled_width(c.dim, c.mlp_ratio)) {
    const auto drop_path = static_cast<float>(c.drop_path);
    residual1_ = Residual(drop_path, layer_scale_of(w, "gamma1", c));
    residual2_ = Residual(drop_path, layer_scale_of(w, "gamma2", c));
    residual3_ = Residual(drop_path, layer_scale_of(w, "gamma3", c));
  }
  Var operator()(const Context& ctx, Var x, const Grid& grid) const {
    x = residual1_(ctx, x, [&](const Var&) { return attn_(ctx, norm1_(ctx, x)); });
    x = residual3_(ctx, x, [&](const Var&) { return local_(ctx, norm3_(ctx, x), grid); });
    return residual2_(ctx, x, [&](const Var&) { return mlp_(ctx, norm2_(ctx, x)); });
  }

 private:
  LayerNorm norm1_, norm2_, norm3_;
  CrossCovarianceAttention attn_;
  LocalPatchInteraction local_;
  Mlp mlp_;
  Residual residual1_, residual2_, residual3_;
};

/// Class attention with the official code's residuals, for [class | patches] = x and u = norm1 x:
///   x <- x + gamma1 [proj(attention of the class to all) | u's patches]
///   x <- [norm2 of the class | patches], with tokens_norm norm2 x
///   x <- [class + gamma2 mlp(class) | patches + patches]
class ClassBlock {
 public:
  ClassBlock(const Weights& w, const XcitConfig& c)
      : width_(c.dim),
        tokens_norm_(c.tokens_norm),
        norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        qkv_(w / "attn" / "qkv", c.dim, 3 * c.dim, {.bias = c.qkv_bias}),
        proj_(w / "attn" / "proj", c.dim, c.dim),
        mlp_(w / "mlp", c.dim, scaled_width(c.dim, c.mlp_ratio)),
        gamma1_(layer_scale_of(w, "gamma1", c)),
        gamma2_(layer_scale_of(w, "gamma2", c)) {
    options_.heads = c.heads;
  }
  /// x (B, 1 + N, C) -> the same.
  Var operator()(const Context& ctx, Var x) const {
    const auto first = [&](const Var& tokens) { return select_rows(ctx, tokens, 0, 1); };
    const auto others = [&](const Var& tokens) { return select_rows(ctx, tokens, 1, tokens.dim(1)); };
    const Var u = norm1_(ctx, x), qkv = qkv_(ctx, u);
    const auto part = [&](std::int64_t t) { return slice_axis(ctx, qkv, 2, t * width_, (t + 1) * width_); };
    const Var attended = proj_(ctx, attention(ctx, first(part(0)), part(1), part(2), options_));
    x = layer_scale(ctx, concat_rows(ctx, {attended, others(u)}), gamma1_, x);
    if (tokens_norm_) x = norm2_(ctx, x);
    const Var cls = tokens_norm_ ? first(x) : norm2_(ctx, first(x));
    return concat_rows(ctx, {layer_scale(ctx, mlp_(ctx, cls), gamma2_, cls), affine(ctx, others(x), 2.0f)});
  }

 private:
  std::int64_t width_;
  bool tokens_norm_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_;
  Mlp mlp_;
  Var gamma1_, gamma2_;
  AttentionOptions options_;
};

class Xcit final : public ImageModelOf<XcitConfig> {
 public:
  Xcit(const Family& family, XcitConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
    const XcitConfig& c = this->c();
    cls_token_ = w.get("cls_token", {1, 1, c.dim}, Init::trunc_normal(0.02f), {.decay = false});
    std::int64_t in = c.input.in_chans;
    for (std::int64_t k = 0; k < c.stem(); ++k) {  // an activation has a number, too
      const std::int64_t out = c.dim >> (c.stem() - 1 - k);
      stem_.emplace_back(w / "patch_embed" / "proj" / (2 * k), in, out,
                         ConvNorm::Options{.kernel = 3, .stride = 2, .pad = 1, .eps = c.bn_eps});
      in = out;
    }
    const Weights code = w / "pos_embeder" / "token_projection";
    const Init init = Init::fan_in(2 * kFourierHidden);
    code_weight_ = code.get("weight", {c.dim, 2 * kFourierHidden, 1, 1}, init);
    code_bias_ = code.get("bias", {c.dim}, init);
    for (std::int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(w / "blocks" / i, c);
    for (std::int64_t i = 0; i < c.class_depth; ++i) class_blocks_.emplace_back(w / "cls_attn_blocks" / i, c);
    norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
    head_ = Head(w / "head", c.dim, c.input.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    Grid grid;
    return head_(ctx, Prefix::token(ctx, encode(ctx, images, grid), 0));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Grid grid;
    const Var x = encode(ctx, images, grid);
    return {.levels = {{select_rows(ctx, x, 1, x.dim(1)), grid, c().input.patch_size.rows}},
            .cls = Prefix::token(ctx, x, 0)};
  }

 private:
  /// [class | patches], normed: (B, 1 + rows * columns, C).
  Var encode(const Context& ctx, const Var& images, Grid& grid) const;

  Var cls_token_;
  std::vector<ConvNorm> stem_;
  Var code_weight_, code_bias_;
  std::vector<Block> blocks_;
  std::vector<ClassBlock> class_blocks_;
  LayerNorm norm_;
  Head head_;
};

Var Xcit::encode(const Context& ctx, const Var& images, Grid& grid) const {
  const XcitConfig& c = this->c();
  require_images(op(), images, c.input.in_chans);
  Var patches = images;
  for (std::size_t k = 0; k < stem_.size(); ++k)
    patches = stem_[k](ctx, k == 0 ? patches : gelu(ctx, patches));
  grid = {1, patches.dim(2), patches.dim(3)};
  Var x = ctx.shown("patch_embed", images_to_tokens(ctx, patches));
  const Var code = fourier_position(ctx, code_weight_, code_bias_, grid.rows, grid.columns);
  if (ctx.probe != nullptr)
    ctx.show([] { return "pos_embeder"; }, tokens_to_images({}, code, grid.rows, grid.columns));
  x = add(ctx, x, reshape(ctx, code, {grid.tokens(), c.dim}));
  for (std::size_t i = 0; i < blocks_.size(); ++i)
    x = ctx.shown("blocks", static_cast<std::int64_t>(i), blocks_[i](ctx, x, grid));
  x = concat_rows(ctx, {cls_token_, x});
  for (std::size_t i = 0; i < class_blocks_.size(); ++i)
    x = ctx.shown("cls_attn_blocks", static_cast<std::int64_t>(i), class_blocks_[i](ctx, x));
  return ctx.shown("norm", norm_(ctx, x));
}

void from_shapes(const NamedShapes& s, XcitConfig& c) {
  c.heads = s.dim("blocks.0.attn.temperature", 0);
  c.dim = s.dim("blocks.0.attn.proj.weight", 0);
  c.input.in_chans = s.dim("patch_embed.proj.0.c.weight", 1);
  const std::int64_t patch = s.has("patch_embed.proj.6.c.weight") ? 16 : 8;
  c.input.patch_size = {patch, patch};
  c.input.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  c.depth = s.count("blocks", ".norm1.weight");
  c.class_depth = s.count("cls_attn_blocks", ".norm1.weight");
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  s.assume("tokens_norm", c.tokens_norm, c.dim != 128);
  s.assume("img_size", c.input.img_size);
  s.assume("norm_eps", c.norm_eps);
  s.assume("bn_eps", c.bn_eps);
}

std::vector<Variant<XcitConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, depth, heads;
    double drop_path;  // of the repository's training, where it says one
  };
  std::vector<Variant<XcitConfig>> out;
  for (const Size& size : {Size{"nano_12", 128, 12, 4, 0.0}, Size{"tiny_12", 192, 12, 4, 0.0},
                           Size{"small_12", 384, 12, 8, 0.05}, Size{"tiny_24", 192, 24, 4, 0.0},
                           Size{"small_24", 384, 24, 8, 0.0}, Size{"medium_24", 512, 24, 8, 0.0},
                           Size{"large_24", 768, 24, 16, 0.0}})
    for (const std::int64_t patch : {16, 8})
      for (const std::int64_t image : {224, 384}) {
        Variant<XcitConfig>& v = out.emplace_back();
        v.name = fmt::format("xcit_{}_p{}_{}", size.name, patch, image);
        v.config.input.patch_size = {patch, patch};
        v.config.dim = size.dim;
        v.config.depth = size.depth;
        v.config.heads = size.heads;
        v.config.tokens_norm = size.dim != 128;
        v.config.layer_scale_init = size.depth == 12 ? 1.0 : 1e-5;
        v.config.drop_path = size.drop_path;
        // The configuration is the same for both: no number depends on the size.
        v.preprocess.rows = v.preprocess.columns = image;
        v.preprocess.crop_pct = 1.0;
        v.note = "XCiT, El-Nouby et al. 2021: attention between channels";
      }
  return out;
}

Renames official_names() {
  Renames out;
  out.naming = "facebookresearch/xcit";
  out.rules = {{"patch_embed.proj.{k}.c", "patch_embed.proj.{k}.0"},
               {"patch_embed.proj.{k}.bn", "patch_embed.proj.{k}.1"}};
  return out;
}

Renames timm_names() {
  Renames out = official_names();
  out.naming = "timm";
  out.rules.push_back({"pos_embeder", "pos_embed"});
  out.rules.push_back(
      {"cls_attn_blocks.{i}.attn.qkv",
       {"cls_attn_blocks.{i}.attn.q", "cls_attn_blocks.{i}.attn.k", "cls_attn_blocks.{i}.attn.v"}});
  return out;
}

std::vector<Renames> renames() { return {Renames{}, official_names(), timm_names()}; }

}  // namespace
}  // namespace xcit_model

const Family kXcit =
    family<xcit_model::Xcit, xcit_model::variants, xcit_model::renames, xcit_model::from_shapes>("xcit");

}  // namespace locant
