// ConViT: d'Ascoli et al. 2021, "ConViT: Improving Vision Transformers with Soft Convolutional Inductive
// Biases", figures 3 (gated positional self-attention) and 4. Names: facebookresearch/convit; timm's are the
// same. The class token enters late: the gated blocks see patches alone, which have positions; it has none.
#include <fmt/format.h>

#include "models/family.h"
#include "models/parts.h"
#include "ops/rearrange.h"
#include "position/gpsa.h"

namespace locant {
namespace convit_model {
namespace {

/// The attention alone; the grid comes with the call.
struct GpsaConfig {
  std::int64_t dim = 192, heads = 4;
  bool qkv_bias = false;
  double locality_strength = 1.0;
};

template <class Archive, ConfigIs<GpsaConfig> Config>
void fields(Archive& a, Config& c) {
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("locality_strength", c.locality_strength);
}

struct ConvitConfig {
  PatchInput input = {};
  GpsaConfig attention = {};  // dim, heads, qkv_bias of every block
  std::int64_t depth = 12, local_up_to_layer = 10;
  double mlp_ratio = 4.0;
  float norm_eps = 1e-6f;
  std::string pos_resize = "bicubic_antialias";
  double drop_path = 0.0;  // of the last block; rises from 0
};

template <class Archive, ConfigIs<ConvitConfig> Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  fields(a, c.attention);
  a.field("depth", c.depth, range(1, 1024));
  a.field("local_up_to_layer", c.local_up_to_layer, range(0, static_cast<double>(c.depth)));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("norm_eps", c.norm_eps);
  a.field("pos_resize", c.pos_resize);
  a.field("drop_path", c.drop_path, rate());
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("pos_embed_prefix", false);
  a.only("pool", "cls");
  only_usual(a);
}

/// Of patches: `qk` (rows q, then k), `v`, `proj`, `pos_proj`, `gating_param`.
class GatedAttention {
 public:
  GatedAttention(const Weights& w, const GpsaConfig& c) : path_(w.path()) {
    content_.heads = c.heads;
    gpsa_.gate = w.get(Gpsa::kGate, {c.heads}, Init::ones());
    qk_ = Linear(w / "qk", c.dim, 2 * c.dim, {.bias = c.qkv_bias});
    v_ = Linear(w / "v", c.dim, c.dim, {.bias = c.qkv_bias, .weight_init = Init::identity()});
    proj_ = Linear(w / "proj", c.dim, c.dim);
    const Tensor start = RandomSource(0).get(w.path(), {c.heads, 3}, Init::trunc_normal(0.02f));
    gpsa_.weight =
        w.get(Gpsa::kWeight, start.shape(), Init::given(gpsa_local_weight(start, c.locality_strength)));
    gpsa_.bias = w.get(Gpsa::kBias, {c.heads}, Init::zeros());
  }
  /// x (B, rows * columns, C) -> the same, plus skip where that is defined.
  Var operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip) const {
    const Var qk = qk_(ctx, x), v = v_(ctx, x);
    const Var q = slice_axis(ctx, qk, 2, 0, x.dim(2)), k = slice_axis(ctx, qk, 2, x.dim(2), 2 * x.dim(2));
    ctx.show([&] { return join_path(path_, "qk"); }, qk);
    ctx.show([&] { return join_path(path_, "v"); }, v);
    ctx.show_dense([&] { return join_path(path_, "pos_proj"); },
                   [&] { return Var(gpsa_exponents(gpsa_, grid, x.dim(0))); });
    ctx.show_dense([&] { return join_path(path_, "attention"); },
                   [&] { return Var(gpsa_probabilities(gpsa_, grid, q.value(), k.value())); });
    return proj_(ctx, gpsa_attention(ctx, gpsa_, grid, grid, q, k, v, content_), Activation::none, skip);
  }

 private:
  std::string path_;
  AttentionOptions content_;
  Linear qk_, v_, proj_;
  Gpsa gpsa_;
};

/// x + attention(norm1 x), then + mlp(norm2 x); gated: of patches, with positions.
class Block {
 public:
  Block(const Weights& w, const ConvitConfig& c, bool gated, float drop_path)
      : path_(w.path()), residual_(drop_path) {
    const std::int64_t C = c.attention.dim;
    norm1_ = LayerNorm(w / "norm1", C, c.norm_eps);
    if (gated)
      gated_ = std::make_shared<GatedAttention>(w / "attn", c.attention);
    else
      plain_ = SelfAttention(w / "attn", C, c.attention.heads, c.attention.qkv_bias);
    norm2_ = LayerNorm(w / "norm2", C, c.norm_eps);
    mlp_ = Mlp(w / "mlp", C, scaled_width(C, c.mlp_ratio));
  }
  Var operator()(const Context& ctx, Var x, Grid grid) const {
    const auto attend = [&](const Context& with, const Var& skip) {
      const Var normed = norm1_(with, x);
      return gated_ ? (*gated_)(with, normed, grid, skip) : plain_(with, normed, skip);
    };
    if (ctx.probe != nullptr) ctx.show([&] { return path_ + ".attn"; }, attend({}, Var()));
    x = residual_(ctx, x, [&](const Var& skip) { return attend(ctx, skip); });
    return residual_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
  }

 private:
  std::string path_;
  LayerNorm norm1_, norm2_;
  std::shared_ptr<const GatedAttention> gated_;  // one of the two
  SelfAttention plain_;
  Mlp mlp_;
  Residual residual_;
};

class Convit final : public ImageModelOf<ConvitConfig> {
 public:
  Convit(const Family& family, ConvitConfig config, const Weights& w)
      : ImageModelOf(family, std::move(config)) {
    const ConvitConfig& c = this->c();
    const std::int64_t C = c.attention.dim;
    cls_.add(w, "cls_token", 1, C, Init::trunc_normal(0.02f));
    position_ = PositionTable{c.input.grid(), 0, C, c.pos_resize}(w);
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", C);
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::int64_t i = 0; i < c.depth; ++i)
      blocks_.emplace_back(w / "blocks" / i, c, i < c.local_up_to_layer, rates[static_cast<std::size_t>(i)]);
    norm_ = LayerNorm(w / "norm", C, c.norm_eps);
    head_ = Head(w / "head", C, c.input.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, Prefix::token(ctx, encode(ctx, images), 0));
  }
  Features features(const Context& ctx, const Var& images) const override {
    const Var x = encode(ctx, images);
    return {.levels = {c().input.level(op(), images, cls_.cut(ctx, x))}, .cls = Prefix::token(ctx, x, 0)};
  }

 private:
  /// [class | patches], normed: (B, 1 + rows * columns, C).
  Var encode(const Context& ctx, const Var& images) const {
    const Grid grid = c().input.grid(op(), images);
    Var x = ctx.shown("patch_embed", patch_embed_(ctx, images));
    x = ctx.shown("pos_drop", position_.add_to(ctx, x, grid.rows, grid.columns));
    for (std::int64_t i = 0; i < c().depth; ++i) {
      if (i == c().local_up_to_layer) x = cls_.before(ctx, x);
      x = ctx.shown("blocks", i, blocks_[static_cast<std::size_t>(i)](ctx, x, grid));
    }
    if (c().local_up_to_layer == c().depth) x = cls_.before(ctx, x);
    return ctx.shown("norm", norm_(ctx, x));
  }

  PatchEmbed patch_embed_;
  LearnedAbsolute position_;
  Prefix cls_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Head head_;
};

void from_shapes(const NamedShapes& s, ConvitConfig& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.attention.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.local_up_to_layer = s.count("blocks", ".attn.gating_param");
  if (c.local_up_to_layer > 0)
    c.attention.heads = s.dim("blocks.0.attn.gating_param", 0);
  else
    s.assume("heads", c.attention.heads, c.attention.dim / 48);
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.attention.qkv_bias = s.has("blocks.0.attn.v.bias") || s.has("blocks.0.attn.qkv.bias");
  c.input.image_of(s, "convit", s.dim("pos_embed", 1));
}

std::vector<Variant<ConvitConfig>> variants() {
  std::vector<Variant<ConvitConfig>> out;
  for (const auto& [name, heads] : {std::pair{"tiny", 4}, {"small", 9}, {"base", 16}}) {
    Variant<ConvitConfig>& v = out.emplace_back();
    v.name = fmt::format("convit_{}", name);
    v.config.attention = {48 * heads, heads};
    v.config.drop_path = 0.1;
    v.preprocess.crop_pct = 0.875;
    v.note = "ConViT, d'Ascoli et al. 2021: ten blocks of gated positional self-attention";
  }
  return out;
}

std::vector<Renames> renames() { return same_names({"facebookresearch/convit", "timm"}); }

}  // namespace
}  // namespace convit_model

const Family kConvit =
    family<convit_model::Convit, convit_model::variants, convit_model::renames, convit_model::from_shapes>(
        "convit");
const Family kGpsaLayer =
    family<GridLayerOf<convit_model::GpsaConfig, convit_model::GatedAttention>, nullptr>("gpsa");

}  // namespace locant
