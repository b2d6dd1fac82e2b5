// LocalViT: Li et al. 2021, "LocalViT: Bringing Locality to Vision Transformers", figures 2 and 3: DeiT whose
// feed-forwards are convolutions over the grid of patches, without a norm before them. The class token passes
// them by. Names: ofsoundof/LocalViT.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/locality_ff.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {
namespace localvit_model {
namespace {

constexpr std::int64_t kCls = 1;

struct LocalVitConfig {
  PatchInput input = {};
  std::int64_t dim = 192, depth = 12, heads = 4;
  FfActivation act = FfActivation::hard_swish;
  FfGate gate = FfGate::squeeze_excite;
  std::int64_t reduction = 4;  // of squeeze-and-excitation: hidden channels over its own
  std::int64_t ffn_kernel = 3;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  float norm_eps = 1e-6f, bn_eps = 1e-5f;
  std::string pos_resize = "none";
  double drop_path = 0.0;  // of the last block's attention; rises from 0

  std::int64_t hidden() const { return scaled_width(dim, mlp_ratio); }
  /// Efficient channel attention's: odd, near (log2(hidden) + 1) / 2.
  std::int64_t eca_kernel() const {
    return static_cast<std::int64_t>(std::abs((std::log2(static_cast<double>(hidden())) + 1) / 2)) | 1;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.choice("act", c.act, {"relu6", "hard_swish"});
  a.choice("gate", c.gate, {"none", "se", "eca", "ecah"});
  a.field("reduction", c.reduction, at_least(1));
  a.field("ffn_kernel", c.ffn_kernel, range(1, 31));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("bn_eps", c.bn_eps);
  a.field("pos_resize", c.pos_resize);
  a.field("drop_path", c.drop_path, rate());
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("pos_embed", "learned");
  a.only("pos_embed_prefix", true);
  a.only("layer_scale", false);
  a.only("pool", "cls");
}

void check(const std::string& op, const LocalVitConfig& c) {
  c.input.require_whole_patches(op);
  require(c.hidden() > 0, op, "mlp_ratio {} leaves dim {} no hidden channel", c.mlp_ratio, c.dim);
  require(c.ffn_kernel % 2 == 1, op, "ffn_kernel {} must be odd", c.ffn_kernel);
  require(c.gate != FfGate::squeeze_excite || c.reduction <= c.hidden(), op,
          "reduction {} leaves none of {} hidden channels", c.reduction, c.hidden());
}

/// x + attention(norm1 x); then of the patches alone P + F(P).
class Block {
 public:
  Block(const Weights& w, const LocalVitConfig& c, float drop_path)
      : path_(w.path()),
        norm1_(w / "norm1", c.dim, c.norm_eps),
        attention_(w / "attn", c.dim, c.heads, c.qkv_bias),
        residual_(drop_path),
        conv_(w / "conv", {.in = c.dim,
                           .out = c.dim,
                           .kernel = c.ffn_kernel,
                           .expand_ratio = c.mlp_ratio,
                           .act = c.act,
                           .gate = c.gate,
                           .reduction = c.reduction,
                           .eca_kernel = c.eca_kernel(),
                           .bn_eps = c.bn_eps}) {}
  /// x (B, 1 + rows * columns, C). `row`, when given, gets the attention of token 0: (B, H, N).
  Var operator()(const Context& ctx, const Var& x, Grid grid, Tensor* row) const {
    if (ctx.probe != nullptr) ctx.show([&] { return path_ + ".attn"; }, attention_({}, norm1_({}, x)));
    const Var y =
        residual_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), skip, row); });
    const Var out = conv_(ctx, y, grid, kCls);
    if (ctx.probe != nullptr) {
      const Var patches = select_rows({}, out, kCls, out.dim(1));
      ctx.show([&] { return path_ + ".conv"; }, tokens_to_images({}, patches, grid.rows, grid.columns));
    }
    return out;
  }

 private:
  std::string path_;
  LayerNorm norm1_;
  SelfAttention attention_;
  Residual residual_;
  LocalityFfLayer conv_;
};

class LocalVit final : public ImageModelOf<LocalVitConfig> {
 public:
  LocalVit(const Family& family, LocalVitConfig config, const Weights& w)
      : ImageModelOf(family, std::move(config)) {
    const LocalVitConfig& c = this->c();
    cls_.add(w, "cls_token", kCls, c.dim, Init::trunc_normal(0.02f));
    position_ = PositionTable{c.input.grid(), kCls, c.dim, c.pos_resize}(w);
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c, rates[i]);
    norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
    head_ = Head(w / "head", c.dim, c.input.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, Prefix::token(ctx, encode(ctx, images, nullptr), 0));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Tensor row;
    const Var x = encode(ctx, images, &row);
    return {.levels = {c().input.level(op(), images, cls_.cut(ctx, x))},
            .cls = Prefix::token(ctx, x, 0),
            .attention = cls_.cut_row(row)};
  }

 private:
  /// [class | patches], normed: (B, 1 + rows * columns, C). `row` as in the last block.
  Var encode(const Context& ctx, const Var& images, Tensor* row) const {
    const Grid grid = c().input.grid(op(), images);
    const Var patches = ctx.shown("patch_embed", patch_embed_(ctx, images));
    Var x = position_.add_to(ctx, cls_.before(ctx, patches), grid.rows, grid.columns);
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i](ctx, x, grid, i + 1 == blocks_.size() ? row : nullptr);
      ctx.shown("blocks", static_cast<std::int64_t>(i), x);
    }
    return ctx.shown("norm", norm_(ctx, x));
  }

  PatchEmbed patch_embed_;
  Prefix cls_;
  LearnedAbsolute position_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Head head_;
};

/// What stands between the convolutions. ECA's two sigmoids and the activation have no tensors.
void gate_from_shapes(const NamedShapes& s, LocalVitConfig& c) {
  const std::string gate = "blocks.0.conv.conv.6", squeeze = gate + ".fc.0.weight";
  if (s.has(squeeze)) {
    c.gate = FfGate::squeeze_excite;
    const std::int64_t wide = s.dim(squeeze, 1), narrow = std::max<std::int64_t>(s.dim(squeeze, 0), 1);
    if (wide / c.reduction != narrow) c.reduction = wide / narrow;
  } else if (s.has(gate + ".conv.weight")) {
    std::string kind = c.gate == FfGate::eca_hard ? "ecah" : "eca";
    s.assume("gate", kind, std::string("eca"));
    c.gate = kind == "ecah" ? FfGate::eca_hard : FfGate::eca;
  } else {
    c.gate = FfGate::none;
  }
  std::string act = c.act == FfActivation::relu6 ? "relu6" : "hard_swish";
  s.assume("act", act, std::string(c.gate == FfGate::none ? "relu6" : "hard_swish"));
  c.act = act == "relu6" ? FfActivation::relu6 : FfActivation::hard_swish;
}

void from_shapes(const NamedShapes& s, LocalVitConfig& c) {
  s.ratio("blocks.0.conv.conv.0.weight", c.mlp_ratio);
  c.ffn_kernel = s.dim("blocks.0.conv.conv.3.weight", 2);
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  gate_from_shapes(s, c);
  c.input.image_of(s, "localvit", s.dim("pos_embed", 1) - kCls);
  constexpr std::int64_t kHeadWidth = 48;  // of every release, where DeiT has 64
  const bool told = s.told("heads") && c.heads > 0 && c.dim % c.heads == 0;
  require(told || c.dim % kHeadWidth == 0, "localvit",
          "a width of {} is no multiple of the usual {} channels of a head, so that heads must be told",
          c.dim, kHeadWidth);
  s.assume("heads", c.heads, c.dim / kHeadWidth, told);
  s.assume("norm_eps", c.norm_eps);
  s.assume("bn_eps", c.bn_eps);
}

std::vector<Variant<LocalVitConfig>> variants() {
  struct Size {
    const char *name, *alias;
    std::int64_t heads, reduction;  // reduction 0: no gate, ReLU6 and a wider feed-forward
  };
  std::vector<Variant<LocalVitConfig>> out;
  for (const Size& size :
       {Size{"tiny_mlp6_act1", "", 4, 0}, Size{"tiny_mlp4_act3_r4", "localvit_tiny_se4", 4, 4},
        Size{"tiny_mlp4_act3_r192", "localvit_tiny", 4, 192},
        Size{"small_mlp4_act3_r384", "localvit_small", 8, 384}}) {
    Variant<LocalVitConfig>& v = out.emplace_back();
    v.name = fmt::format("localvit_{}", size.name);
    if (size.alias[0] != '\0') v.aliases = {size.alias};
    v.config.dim = 48 * size.heads;
    v.config.heads = size.heads;
    v.config.drop_path = 0.1;
    if (size.reduction > 0) {
      v.config.reduction = size.reduction;
    } else {
      v.config.gate = FfGate::none;
      v.config.act = FfActivation::relu6;
      v.config.mlp_ratio = 6.0;
    }
    v.preprocess.crop_pct = 0.875;
    v.note = size.reduction > 0 ? "LocalViT, Li et al. 2021: hard swish and squeeze-and-excitation"
                                : "LocalViT, Li et al. 2021: ReLU6, no gate";
  }
  return out;
}

std::vector<Renames> renames() {
  Renames official;
  official.naming = "ofsoundof/LocalViT";
  official.derived = {"*.num_batches_tracked"};
  return {official};
}

}  // namespace
}  // namespace localvit_model

const Family kLocalVit = family<localvit_model::LocalVit, localvit_model::variants, localvit_model::renames,
                                localvit_model::from_shapes>("localvit");

}  // namespace locant
