// CaiT: Touvron et al. 2021, "Going deeper with Image Transformers", figures 1 (LayerScale) and 2 (class
// attention). Names: facebookresearch/deit; timm's are the same. Patches alone attend to each other; behind
// them the class token, in blocks of its own, attends to itself and to patches that stay as they are. Between
// patches the heads are mixed before and after the softmax, so that no head's scores suffice for its result:
// the fused attention, which keeps one head at a time, could do it at H times the products only;
// ops/talking_heads.h keeps a tile of queries with all heads.
#include <fmt/format.h>

#include "models/family.h"
#include "models/parts.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/talking_heads.h"

namespace locant {
namespace cait_model {
namespace {

struct CaitConfig {
  PatchInput input = {};
  std::int64_t dim = 192, depth = 24, class_depth = 2, heads = 4;
  double mlp_ratio = 4.0, class_mlp_ratio = 4.0;
  bool qkv_bias = true;
  float norm_eps = 1e-6f;
  double layer_scale_init = 1e-5;
  std::string pos_resize = "bicubic_antialias";
  double drop_path = 0.0;  // of every block alike; not of the class token's
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("class_depth", c.class_depth, range(1, 1024));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("class_mlp_ratio", c.class_mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("layer_scale_init", c.layer_scale_init, range(0, 1024));
  a.field("pos_resize", c.pos_resize);
  a.field("drop_path", c.drop_path, rate());
  a.only("talking_heads", true);
  a.only("layer_scale", true);
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("pos_embed_prefix", false);
  a.only("pool", "cls");
  only_usual(a);
}

void check(const std::string& op, const CaitConfig& c) { c.input.require_whole_patches(op); }

/// Of patches: `qkv`, `proj_l` over the heads of scores, `proj_w` over those of probabilities, `proj`.
class TalkingHeadsAttention {
 public:
  TalkingHeadsAttention(const Weights& w, const CaitConfig& c)
      : heads_(c.heads),
        qkv_(w / "qkv", c.dim, 3 * c.dim, {.bias = c.qkv_bias}),
        proj_(w / "proj", c.dim, c.dim) {
    const Weights before = w / "proj_l", after = w / "proj_w";
    const Init init = Init::trunc_normal(0.02f);
    mix_ = {before.get("weight", {heads_, heads_}, init), before.get("bias", {heads_}, Init::zeros()),
            after.get("weight", {heads_, heads_}, init), after.get("bias", {heads_}, Init::zeros())};
  }
  /// x (B, N, C) -> the same.
  Var operator()(const Context& ctx, const Var& x) const {
    return proj_(ctx, talking_heads_attention(ctx, qkv_(ctx, x), mix_, heads_));
  }

 private:
  std::int64_t heads_;
  Linear qkv_, proj_;
  TalkingHeads mix_;
};

/// Of the first token to all: `q`, `k`, `v`, `proj`.
class ClassAttention {
 public:
  ClassAttention(const Weights& w, const CaitConfig& c)
      : q_(w / "q", c.dim, c.dim, {.bias = c.qkv_bias}),
        k_(w / "k", c.dim, c.dim, {.bias = c.qkv_bias}),
        v_(w / "v", c.dim, c.dim, {.bias = c.qkv_bias}),
        proj_(w / "proj", c.dim, c.dim) {
    options_.heads = c.heads;
  }
  /// x (B, 1 + N, C) -> (B, 1, C).
  Var operator()(const Context& ctx, const Var& x) const {
    const Var q = q_(ctx, select_rows(ctx, x, 0, 1));
    return proj_(ctx, attention(ctx, q, k_(ctx, x), v_(ctx, x), options_));
  }

 private:
  AttentionOptions options_;
  Linear q_, k_, v_, proj_;
};

/// x + gamma_1 attention(norm1 [context | x]), then + gamma_2 mlp(norm2 x). Of patches: no context.
template <class Attention>
class Block {
 public:
  Block(const Weights& w, const CaitConfig& c, double mlp_ratio, float drop_path)
      : norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c),
        mlp_(w / "mlp", c.dim, scaled_width(c.dim, mlp_ratio)) {
    const Init init = Init::constant(static_cast<float>(c.layer_scale_init));
    residual1_ = Residual(drop_path, w.get("gamma_1", {c.dim}, init));
    residual2_ = Residual(drop_path, w.get("gamma_2", {c.dim}, init));
  }
  /// x: the class token (B, 1, C), `patches` (B, N, C); or patches, and undefined.
  Var operator()(const Context& ctx, Var x, const Var& patches = {}) const {
    x = residual1_(ctx, x, [&](const Var&) {
      return attention_(ctx, norm1_(ctx, patches.defined() ? concat_rows(ctx, {x, patches}) : x));
    });
    return residual2_(ctx, x, [&](const Var&) { return mlp_(ctx, norm2_(ctx, x)); });
  }

 private:
  LayerNorm norm1_, norm2_;
  Attention attention_;
  Mlp mlp_;
  Residual residual1_, residual2_;
};

class Cait final : public ImageModelOf<CaitConfig> {
 public:
  Cait(const Family& family, CaitConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
    const CaitConfig& c = this->c();
    const Init init = Init::trunc_normal(0.02f);
    cls_token_ = w.get("cls_token", {1, 1, c.dim}, init, {.decay = false});
    position_ = PositionTable{c.input.grid(), 0, c.dim, c.pos_resize}(w);
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    for (std::int64_t i = 0; i < c.depth; ++i)
      blocks_.emplace_back(w / "blocks" / i, c, c.mlp_ratio, static_cast<float>(c.drop_path));
    for (std::int64_t i = 0; i < c.class_depth; ++i)
      class_blocks_.emplace_back(w / "blocks_token_only" / i, c, c.class_mlp_ratio, 0.0f);
    norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
    head_ = Head(w / "head", c.dim, c.input.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, Prefix::token(ctx, encode(ctx, images), 0));
  }
  Features features(const Context& ctx, const Var& images) const override {
    const Var x = encode(ctx, images);
    return {.levels = {c().input.level(op(), images, select_rows(ctx, x, 1, x.dim(1)))},
            .cls = Prefix::token(ctx, x, 0)};
  }

 private:
  /// [class | patches], normed: (B, 1 + rows * columns, C).
  Var encode(const Context& ctx, const Var& images) const {
    const Grid grid = c().input.grid(op(), images);
    Var x = ctx.shown("patch_embed", patch_embed_(ctx, images));
    x = ctx.shown("pos_drop", position_.add_to(ctx, x, grid.rows, grid.columns));
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      x = ctx.shown("blocks", static_cast<std::int64_t>(i), blocks_[i](ctx, x));
    // One for each picture.
    Var cls = gather_rows(ctx, reshape(ctx, cls_token_, {1, c().dim}),
                          std::vector<std::int32_t>(static_cast<std::size_t>(x.dim(0)), 0));
    cls = reshape(ctx, cls, {x.dim(0), 1, c().dim});
    for (std::size_t i = 0; i < class_blocks_.size(); ++i)
      cls = ctx.shown("blocks_token_only", static_cast<std::int64_t>(i), class_blocks_[i](ctx, cls, x));
    return ctx.shown("norm", norm_(ctx, concat_rows(ctx, {cls, x})));
  }

  Var cls_token_;
  PatchEmbed patch_embed_;
  LearnedAbsolute position_;
  std::vector<Block<TalkingHeadsAttention>> blocks_;
  std::vector<Block<ClassAttention>> class_blocks_;
  LayerNorm norm_;
  Head head_;
};

void from_shapes(const NamedShapes& s, CaitConfig& c) {
  c.heads = s.dim("blocks.0.attn.proj_l.weight", 0);
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.class_depth = s.count("blocks_token_only", ".norm1.weight");
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  s.ratio("blocks_token_only.0.mlp.fc1.weight", c.class_mlp_ratio);
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  c.input.image_of(s, "cait", s.dim("pos_embed", 1));
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<CaitConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t heads, depth, image;
    double layer_scale_init, drop_path;
  };
  std::vector<Variant<CaitConfig>> out;
  for (const Size& size : {Size{"xxs24", 4, 24, 224, 1e-5, 0.05}, Size{"xxs24", 4, 24, 384, 1e-5, 0.05},
                           Size{"xxs36", 4, 36, 224, 1e-5, 0.1}, Size{"xxs36", 4, 36, 384, 1e-5, 0.1},
                           Size{"xs24", 6, 24, 384, 1e-5, 0.05}, Size{"s24", 8, 24, 224, 1e-5, 0.1},
                           Size{"s24", 8, 24, 384, 1e-5, 0.1}, Size{"s36", 8, 36, 384, 1e-6, 0.2},
                           Size{"m36", 16, 36, 384, 1e-6, 0.3}, Size{"m48", 16, 48, 448, 1e-6, 0.4}}) {
    Variant<CaitConfig>& v = out.emplace_back();
    v.name = fmt::format("cait_{}_{}", size.name, size.image);
    v.config.input.img_size = {size.image, size.image};
    v.config.dim = 48 * size.heads;
    v.config.depth = size.depth;
    v.config.heads = size.heads;
    v.config.layer_scale_init = size.layer_scale_init;
    v.config.drop_path = size.drop_path;
    v.preprocess.rows = v.preprocess.columns = size.image;
    v.preprocess.crop_pct = 1.0;
    v.note = "CaiT, Touvron et al. 2021: talking heads, class attention, LayerScale";
  }
  return out;
}

std::vector<Renames> renames() { return same_names({"facebookresearch/deit", "timm"}); }

}  // namespace
}  // namespace cait_model

const Family kCait =
    family<cait_model::Cait, cait_model::variants, cait_model::renames, cait_model::from_shapes>("cait");

}  // namespace locant
