// DeiT with iRPE: Wu et al. 2021, "Rethinking and Improving Relative Position Encoding for Vision
// Transformer", figure 1 and section 4.3: DeiT (Touvron et al. 2021) with the encoding in every attention,
// beside its learned positions. Names: microsoft/Cream.
#include <fmt/format.h>

#include "core/error.h"
#include "models/family.h"
#include "models/irpe_config.h"
#include "models/parts.h"

namespace locant {
namespace deit_irpe_model {
namespace {

constexpr std::int64_t kSkip = 1;  // the class token has a bucket of its own

struct DeitIrpeConfig {
  PatchInput input = {};
  std::int64_t dim = 384, depth = 12, heads = 6;
  IrpeConfig irpe;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  float norm_eps = 1e-6f;
  std::string pos_resize = "bicubic";  // of the official fine-tuning
  double drop_path = 0.0;              // of the last block; rises from 0
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  irpe_fields(a, c.irpe, kSkip);
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("pos_resize", c.pos_resize);
  a.field("drop_path", c.drop_path, rate());
  a.only("prefix_tokens", std::vector<std::string>{"cls_token"});
  a.only("pos_embed_prefix", true);
  a.only("layer_scale", false);
  a.only("pool", "cls");
  only_usual(a);
}

void check(const std::string& op, const DeitIrpeConfig& c) {
  c.input.require_whole_patches(op);
  require(!c.irpe.on.empty(), op, "rpe_on is empty: that is a plain DeiT, the family deit");
}

/// x + attention(norm1 x), then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const DeitIrpeConfig& c, float drop_path)
      : path_(w.path()),
        norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        mlp_(w / "mlp", c.dim, scaled_width(c.dim, c.mlp_ratio)),
        residual_(drop_path) {
    IrpeOptions options = c.irpe.options(c.dim, c.heads, kSkip);
    options.qkv_bias = c.qkv_bias;
    attention_ = IrpeAttention(w / "attn", options);
  }
  Var operator()(const Context& ctx, Var x, const IrpeMaps& maps) const {
    if (ctx.probe != nullptr) ctx.show([&] { return path_ + ".attn"; }, attention_({}, norm1_({}, x), maps));
    x = residual_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), maps, skip); });
    return residual_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
  }

 private:
  std::string path_;
  LayerNorm norm1_, norm2_;
  IrpeAttention attention_;
  Mlp mlp_;
  Residual residual_;
};

class DeitIrpe final : public ImageModelOf<DeitIrpeConfig> {
 public:
  DeitIrpe(const Family& family, DeitIrpeConfig config, const Weights& w)
      : ImageModelOf(family, std::move(config)) {
    const DeitIrpeConfig& c = this->c();
    cls_.add(w, "cls_token", 1, c.dim, Init::trunc_normal(0.02f));
    position_ = PositionTable{c.input.grid(), cls_.size(), c.dim, c.pos_resize}(w);
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c, rates[i]);
    norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
    head_ = Head(w / "head", c.dim, c.input.num_classes);
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
    const IrpeMaps maps = irpe_maps(c().irpe.form(), {grid.rows, grid.columns, kSkip});
    Var x = cls_.before(ctx, ctx.shown("patch_embed", patch_embed_(ctx, images)));
    x = ctx.shown("pos_drop", position_.add_to(ctx, x, grid.rows, grid.columns));
    for (std::size_t i = 0; i < blocks_.size(); ++i)
      x = ctx.shown("blocks", static_cast<std::int64_t>(i), blocks_[i](ctx, x, maps));
    return ctx.shown("norm", norm_(ctx, x));
  }

  PatchEmbed patch_embed_;
  LearnedAbsolute position_;
  Prefix cls_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Head head_;
};

void from_shapes(const NamedShapes& s, DeitIrpeConfig& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  c.irpe.from_shapes(s, "blocks.0.attn", kSkip, c.dim, 64, c.heads);
  require(!c.irpe.on.empty(), "deit_irpe", "no tables of iRPE: a plain DeiT");
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  c.input.image_of(s, "deit_irpe", s.dim("pos_embed", 1) - kSkip);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<DeitIrpeConfig>> variants() {
  struct Released {
    const char *size, *method;  // the number of buckets that are in use, as the names have it
    std::int64_t heads;
    IrpeMethod kind;
    double ratio;
    const char* on;
  };
  constexpr IrpeMethod kProduct = IrpeMethod::product;
  std::vector<Variant<DeitIrpeConfig>> out;
  for (const Released& r : {Released{"tiny", "product_50", 3, kProduct, 1.9, "k"},
                            {"small", "product_50", 6, kProduct, 1.9, "k"},
                            {"small", "product_50", 6, kProduct, 1.9, "qk"},
                            {"small", "product_50", 6, kProduct, 1.9, "qkv"},
                            {"base", "product_50", 12, kProduct, 1.9, "k"},
                            {"base", "product_50", 12, kProduct, 1.9, "qkv"},
                            {"small", "euc_20", 6, IrpeMethod::euclidean, 20.0, "k"},
                            {"small", "quant_51", 6, IrpeMethod::quantised, 33.0, "k"},
                            {"small", "cross_56", 6, IrpeMethod::cross, 20.0, "k"}}) {
    Variant<DeitIrpeConfig>& v = out.emplace_back();
    v.name = fmt::format("deit_{}_patch16_224_ctx_{}_shared_{}", r.size, r.method, r.on);
    v.config.dim = 64 * r.heads;
    v.config.heads = r.heads;
    v.config.irpe.method = r.kind;
    v.config.irpe.ratio = r.ratio;
    v.config.irpe.on = r.on;
    v.config.drop_path = 0.1;
    v.preprocess.crop_pct = 0.875;
    v.note = fmt::format("DeiT with iRPE, Wu et al. 2021: contextual {}, shared by the heads, on {}",
                         r.method, r.on);
  }
  return out;
}

std::vector<Renames> renames() { return same_names({"microsoft/Cream"}); }

}  // namespace
}  // namespace deit_irpe_model

const Family kDeitIrpe = family<deit_irpe_model::DeitIrpe, deit_irpe_model::variants,
                                deit_irpe_model::renames, deit_irpe_model::from_shapes>("deit_irpe");

}  // namespace locant
