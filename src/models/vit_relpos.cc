// ViT with relative positions: timm's vision_transformer_relpos, after the log-spaced bias of Liu et al.
// 2022, "Swin Transformer V2", equations 3 and 4, without its bound: a small MLP of the displacement in every
// block (vit_relpos), or one for all (vit_srelpos). Names: timm's.
#include <fmt/format.h>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "position/dynamic_bias.h"

namespace locant {
namespace vit_relpos_model {
namespace {

struct VitRelposConfig {
  enum class Pool { cls, mean };
  enum class FinalNorm { norm, fc_norm };  // of all tokens, or of their mean
  enum class BlockNorm { pre, post };      // post: of what the branch gives, in place of LayerScale
  PatchInput input = {};                   // img_size: what is usual, no tensor depends on it
  std::int64_t dim = 768, depth = 12, heads = 12;
  double mlp_ratio = 4.0;
  bool qkv_bias = false;
  float norm_eps = 1e-6f;
  std::int64_t rel_mlp_hidden = RelPosMlp::kHidden;
  bool shared_rel_pos = false;
  std::vector<std::string> prefix_tokens = {};  // or cls_token
  bool layer_scale = true;
  float layer_scale_init = 1e-6f;
  BlockNorm block_norm = BlockNorm::pre;
  Pool pool = Pool::mean;  // of the patches
  FinalNorm final_norm = FinalNorm::fc_norm;
  double drop_path = 0.0;  // of the last block; rises from 0
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("rel_mlp_hidden", c.rel_mlp_hidden, at_least(1));
  a.only("rel_mlp_act", "relu");
  a.only("rel_coords", "sign_log1p");
  a.field("shared_rel_pos", c.shared_rel_pos);
  a.field("prefix_tokens", c.prefix_tokens);
  a.field("layer_scale", c.layer_scale);
  a.field("layer_scale_init", c.layer_scale_init);
  a.choice("block_norm", c.block_norm, {"pre", "post"});
  a.choice("pool", c.pool, {"cls", "mean"});
  a.choice("final_norm", c.final_norm, {"norm", "fc_norm"});
  a.field("drop_path", c.drop_path, rate());
  a.only("act", "gelu");
  a.only("pos_embed", "none");
}

void check(const std::string& op, const VitRelposConfig& c) {
  const bool token = c.prefix_tokens == std::vector<std::string>{"cls_token"};
  require(scaled_width(c.dim, c.mlp_ratio) > 0, op, "mlp_ratio {} leaves dim {} no hidden channel",
          c.mlp_ratio, c.dim);
  require(token || c.prefix_tokens.empty(), op, "prefix_tokens are [{}]; there are [cls_token] and none",
          fmt::join(c.prefix_tokens, ", "));
  require(token || c.pool == VitRelposConfig::Pool::mean, op, "pool cls needs the prefix token cls_token");
  require(c.pool == VitRelposConfig::Pool::mean || c.final_norm == VitRelposConfig::FinalNorm::norm, op,
          "final_norm fc_norm goes with pool mean");
  require(c.block_norm == VitRelposConfig::BlockNorm::pre || !c.layer_scale, op,
          "block_norm post has no LayerScale: layer_scale must be false");
}

/// PyTorch's own start, which timm leaves these models.
Linear::Options torch_linear(std::int64_t in, bool bias = true) {
  return {.bias = bias, .weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in)};
}
Linear linear(const Weights& w, std::int64_t in, std::int64_t out, bool bias = true) {
  return {w, in, out, torch_linear(in, bias)};
}

/// `mlp.fc1` (hidden, 2), `mlp.fc2` (heads, hidden).
RelPosMlp relpos_mlp(const Weights& w, const VitRelposConfig& c) {
  const std::int64_t hidden = c.rel_mlp_hidden;
  const Weights fc1 = w / "mlp" / "fc1", fc2 = w / "mlp" / "fc2";
  return {.first_weight = fc1.get("weight", {hidden, 2}, Init::fan_in(2)),
          .first_bias = fc1.get("bias", {hidden}, Init::fan_in(2)),
          .second_weight = fc2.get("weight", {c.heads, hidden}, Init::fan_in(hidden)),
          .second_bias = fc2.get("bias", {c.heads}, Init::fan_in(hidden)),
          .dropout = RelPosMlp::kDropout};
}

/// The bias of patches on this grid; a class token gets nothing.
AttentionTerm relpos_term(const Context& ctx, const RelPosMlp& mlp, Window grid, const VitRelposConfig& c) {
  return displacement_term(relpos_mlp_table(ctx, mlp, grid, c.heads), grid, c.heads,
                           static_cast<std::int64_t>(c.prefix_tokens.size()));
}

/// pre: x + gamma attention(norm1 x), then + gamma mlp(norm2 x).
/// post: x + norm1 attention(x), then + norm2 mlp(x).
class Block {
 public:
  Block(const Weights& w, const VitRelposConfig& c, float drop_path)
      : c_(c),
        norm1_(w / "norm1", c.dim, c.norm_eps, norm_init(c)),
        norm2_(w / "norm2", c.dim, c.norm_eps, norm_init(c)),
        qkv_(linear(w / "attn" / "qkv", c.dim, 3 * c.dim, c.qkv_bias)),
        proj_(linear(w / "attn" / "proj", c.dim, c.dim)),
        fc1_(linear(w / "mlp" / "fc1", c.dim, scaled_width(c.dim, c.mlp_ratio))),
        fc2_(linear(w / "mlp" / "fc2", scaled_width(c.dim, c.mlp_ratio), c.dim)) {
    if (!c.shared_rel_pos) rel_pos_ = relpos_mlp(w / "attn" / "rel_pos", c);
    const auto residual = [&](const char* gamma) {
      return Residual(drop_path,
                      c.layer_scale ? w.get(gamma, {c.dim}, Init::constant(c.layer_scale_init)) : Var());
    };
    residual1_ = residual("ls1.gamma");
    residual2_ = residual("ls2.gamma");
  }
  /// `shared`: the term of all blocks, where there is one.
  Var operator()(const Context& ctx, const Var& x, Window grid, const AttentionTerm* shared) const {
    AttentionOptions options;
    options.heads = c_.heads;
    options.terms = {shared != nullptr ? *shared : relpos_term(ctx, rel_pos_, grid, c_)};
    const Var y = branch(ctx, x, norm1_, residual1_, [&](const Var& in, const Var& skip) {
      return proj_(ctx, attention(ctx, qkv_(ctx, in), options), Activation::none, skip);
    });
    return branch(ctx, y, norm2_, residual2_, [&](const Var& in, const Var& skip) {
      return fc2_(ctx, fc1_(ctx, in, Activation::gelu), Activation::none, skip);
    });
  }

 private:
  static Init norm_init(const VitRelposConfig& c) {
    return c.block_norm == VitRelposConfig::BlockNorm::post ? Init::constant(c.layer_scale_init)
                                                            : Init::ones();
  }
  template <class Layer>
  Var branch(const Context& ctx, const Var& x, const LayerNorm& norm, const Residual& residual,
             const Layer& layer) const {
    return residual(ctx, x, [&](const Var& skip) {
      if (c_.block_norm == VitRelposConfig::BlockNorm::pre) return layer(norm(ctx, x), skip);
      const Var y = norm(ctx, layer(x, Var()));
      return skip.defined() ? add(ctx, skip, y) : y;
    });
  }

  VitRelposConfig c_;
  RelPosMlp rel_pos_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_, fc1_, fc2_;
  Residual residual1_, residual2_;
};

class VitRelpos final : public ImageModelOf<VitRelposConfig> {
 public:
  VitRelpos(const Family& family, VitRelposConfig config, const Weights& w)
      : ImageModelOf(family, std::move(config)) {
    const VitRelposConfig& c = this->c();
    if (!c.prefix_tokens.empty()) cls_.add(w, "cls_token", 1, c.dim, Init::normal(1e-6f));
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    if (c.shared_rel_pos) shared_ = relpos_mlp(w / "shared_rel_pos", c);
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c, rates[i]);
    pool_ = FinalPool(w, {.width = c.dim,
                          .eps = c.norm_eps,
                          .mean = c.pool == VitRelposConfig::Pool::mean,
                          .norms_mean = c.final_norm == VitRelposConfig::FinalNorm::fc_norm});
    head_ = Head(w / "head", c.dim, c.input.num_classes, torch_linear(c.dim));
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, pool_(ctx, encode(ctx, images), cls_.size()));
  }
  Features features(const Context& ctx, const Var& images) const override {
    const Var x = encode(ctx, images);
    return {.levels = {c().input.level(op(), images, cls_.cut(ctx, x))}, .cls = pool_(ctx, x, cls_.size())};
  }

 private:
  /// [class | patches], normed unless their mean is: (B, prefix + rows * columns, C).
  Var encode(const Context& ctx, const Var& images) const {
    const Grid grid = c().input.grid(op(), images);
    const Window window = {grid.rows, grid.columns};
    Var x = cls_.before(ctx, ctx.shown("patch_embed", patch_embed_(ctx, images)));
    AttentionTerm shared;
    if (c().shared_rel_pos) shared = relpos_term(ctx, shared_, window, c());
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      x = ctx.shown("blocks", static_cast<std::int64_t>(i),
                    blocks_[i](ctx, x, window, c().shared_rel_pos ? &shared : nullptr));
    return pool_.tokens(ctx, x);
  }

  Prefix cls_;
  PatchEmbed patch_embed_;
  RelPosMlp shared_;
  std::vector<Block> blocks_;
  FinalPool pool_;
  Head head_;
};

void from_shapes(const NamedShapes& s, VitRelposConfig& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.shared_rel_pos = s.has("shared_rel_pos.mlp.fc1.weight");
  const std::string mlp = c.shared_rel_pos ? "shared_rel_pos.mlp." : "blocks.0.attn.rel_pos.mlp.";
  c.rel_mlp_hidden = s.dim(mlp + "fc1.weight", 0);
  c.heads = s.dim(mlp + "fc2.weight", 0);
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  c.layer_scale = s.has("blocks.0.ls1.gamma");
  // timm gives every block of norms before the branches LayerScale, and none to the others.
  if (c.layer_scale) c.block_norm = VitRelposConfig::BlockNorm::pre;
  if (!c.layer_scale && !s.told("block_norm")) c.block_norm = VitRelposConfig::BlockNorm::post;
  c.prefix_tokens.clear();
  if (s.has("cls_token")) c.prefix_tokens = {"cls_token"};
  const bool fc_norm = s.has("fc_norm.weight");
  c.final_norm = fc_norm ? VitRelposConfig::FinalNorm::fc_norm : VitRelposConfig::FinalNorm::norm;
  if (fc_norm || c.prefix_tokens.empty())
    c.pool = VitRelposConfig::Pool::mean;
  else if (!s.told("pool"))
    c.pool = VitRelposConfig::Pool::cls;
  s.assume("img_size", c.input.img_size);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<VitRelposConfig>> variants() {
  struct Size {
    const char* name;
    std::int64_t dim, heads;
  };
  constexpr Size kSmall = {"small", 384, 6}, kMedium = {"medium", 512, 8}, kBase = {"base", 768, 12},
                 kPlus = {"plus", 896, 14};
  std::vector<Variant<VitRelposConfig>> out;
  const auto add = [&](std::string name, const Size& size, std::int64_t image, const char* note) -> auto& {
    Variant<VitRelposConfig>& v = out.emplace_back();
    v.name = std::move(name);
    v.config.input.img_size = {image, image};
    v.config.dim = size.dim;
    v.config.heads = size.heads;
    v.preprocess.rows = v.preprocess.columns = image;
    v.preprocess.mean = v.preprocess.std = {0.5f, 0.5f, 0.5f};
    v.note = note;
    return v.config;
  };
  const auto normed_tokens = [](VitRelposConfig& c) { c.final_norm = VitRelposConfig::FinalNorm::norm; };
  const auto post_norm = [&](VitRelposConfig& c) {
    normed_tokens(c);
    c.block_norm = VitRelposConfig::BlockNorm::post;
    c.layer_scale = false;
  };
  for (const Size& size : {kSmall, kMedium, kBase})
    add(fmt::format("vit_relpos_{}_patch16_224", size.name), size, 224,
        "timm's ViT with an MLP of the displacement in every block, no class token");
  for (const Size& size : {kMedium, kBase}) {
    VitRelposConfig& c = add(fmt::format("vit_relpos_{}_patch16_cls_224", size.name), size, 224,
                             "timm's ViT with an MLP of the displacement in every block, class token");
    normed_tokens(c);
    c.prefix_tokens = {"cls_token"};
    c.pool = VitRelposConfig::Pool::cls;
    if (size.dim == kMedium.dim) c.rel_mlp_hidden = 256;
  }
  add("vit_relpos_base_patch16_clsgap_224", kBase, 224,
      "timm's ViT with an MLP of the displacement; a class token, and the mean of the patches")
      .prefix_tokens = {"cls_token"};
  for (const Size& size : {kSmall, kMedium, kBase})
    post_norm(add(fmt::format("vit_relpos_{}_patch16_rpn_224", size.name), size, 224,
                  "timm's ViT with an MLP of the displacement, norms behind the branches"));
  for (const Size& size : {kSmall, kMedium}) {
    VitRelposConfig& c = add(fmt::format("vit_srelpos_{}_patch16_224", size.name), size, 224,
                             "timm's ViT with one MLP of the displacement for all blocks");
    normed_tokens(c);
    c.shared_rel_pos = true;
    c.rel_mlp_hidden = size.dim;
  }
  VitRelposConfig& plus = add("vit_relpos_base_patch16_plus_240", kPlus, 240,
                              "timm's ViT with an MLP of the displacement, 896 channels");
  normed_tokens(plus);
  plus.qkv_bias = true;
  VitRelposConfig& post = add("vit_relpos_base_patch32_plus_rpn_256", kPlus, 256,
                              "timm's ViT with an MLP of the displacement, norms behind the branches");
  post_norm(post);
  post.input.patch_size = {32, 32};
  post.qkv_bias = true;
  return out;
}

std::vector<Renames> renames() { return same_names({"timm"}); }

}  // namespace
}  // namespace vit_relpos_model

const Family kVitRelpos = family<vit_relpos_model::VitRelpos, vit_relpos_model::variants,
                                 vit_relpos_model::renames, vit_relpos_model::from_shapes>("vit_relpos");

}  // namespace locant
