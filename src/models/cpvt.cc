// CPVT: Chu et al. 2021, "Conditional Positional Encodings for Vision Transformers", figure 1 (PEG) and table
// 1: DeiT without a position table, with a position encoding generator behind its first block. GAP: without a
// class token, the mean of the patches. Names: DeiT's, and of PEG those of Meituan-AutoML/Twins; no file of
// the authors' own was published.
#include <fmt/format.h>

#include <utility>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/peg.h"
#include "ops/layout.h"

namespace locant {
namespace cpvt_model {
namespace {

struct CpvtConfig {
  enum class Pool { cls, mean };
  PatchInput input = {};  // any multiple of the patch runs
  std::int64_t dim = 192, depth = 12, heads = 3;
  Pool pool = Pool::cls;  // mean: there is no class token
  // pos_block.i stands behind block peg_after_block + i.
  std::int64_t pegs = 1, peg_after_block = 0, peg_kernel = 3;
  double mlp_ratio = 4.0;
  bool qkv_bias = true;
  float norm_eps = 1e-6f;
  double drop_path = 0.0;  // of the last block; rises from 0

  std::vector<std::string> prefix_tokens() const {
    return pool == Pool::cls ? std::vector<std::string>{"cls_token"} : std::vector<std::string>{};
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.choice("pool", c.pool, {"cls", "mean"});
  a.field("pegs", c.pegs, range(1, static_cast<double>(c.depth)));
  a.field("peg_after_block", c.peg_after_block, range(0, static_cast<double>(c.depth - c.pegs)));
  a.field("peg_kernel", c.peg_kernel, range(1, 31));
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.choice("qkv_bias", c.qkv_bias, {"none", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("drop_path", c.drop_path, rate());
  a.only("prefix_tokens", c.prefix_tokens());
  a.only("act", "gelu");
  a.only("pos_embed", "none");
}

void check(const std::string& op, const CpvtConfig& c) {
  require(c.peg_kernel % 2 == 1, op, "peg_kernel {} must be odd", c.peg_kernel);
}

/// x + attention(norm1 x), then + mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const CpvtConfig& c, float drop_path)
      : norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c.dim, c.heads, c.qkv_bias),
        mlp_(w / "mlp", c.dim, scaled_width(c.dim, c.mlp_ratio)),
        residual_(drop_path) {}
  /// `row`, when given, gets the attention of token 0: (B, H, N).
  Var operator()(const Context& ctx, Var x, Tensor* row) const {
    x = residual_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), skip, row); });
    return residual_(ctx, x, [&](const Var& skip) { return mlp_(ctx, norm2_(ctx, x), skip); });
  }

 private:
  LayerNorm norm1_, norm2_;
  SelfAttention attention_;
  Mlp mlp_;
  Residual residual_;
};

class Cpvt final : public ImageModelOf<CpvtConfig> {
 public:
  Cpvt(const Family& family, CpvtConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
    const CpvtConfig& c = this->c();
    if (c.pool == CpvtConfig::Pool::cls) prefix_.add(w, "cls_token", 1, c.dim, Init::trunc_normal(0.02f));
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::size_t i = 0; i < rates.size(); ++i) blocks_.emplace_back(w / "blocks" / i, c, rates[i]);
    for (std::int64_t i = 0; i < c.pegs; ++i)
      pegs_.emplace_back(w / "pos_block" / i, PegLayer::Options{.width = c.dim, .kernel = c.peg_kernel});
    norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
    head_ = Head(w / "head", c.dim, c.input.num_classes);
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, pooled(ctx, encode(ctx, images, nullptr)));
  }
  Features features(const Context& ctx, const Var& images) const override {
    Tensor row;
    const Var x = encode(ctx, images, prefix_.size() > 0 ? &row : nullptr);
    Features out{.levels = {c().input.level(op(), images, prefix_.cut(ctx, x))}, .cls = pooled(ctx, x)};
    if (row.defined()) out.attention = prefix_.cut_row(row);
    return out;
  }

 private:
  Var pooled(const Context& ctx, const Var& x) const {
    return prefix_.size() > 0 ? Prefix::token(ctx, x, 0) : mean_pool(ctx, x);
  }
  /// [class | patches], normed: (B, prefix + rows * columns, C). `row` as in the last block.
  Var encode(const Context& ctx, const Var& images, Tensor* row) const {
    const Grid grid = c().input.grid(op(), images);
    Var x = prefix_.before(ctx, ctx.shown("patch_embed", patch_embed_(ctx, images)));
    for (std::int64_t i = 0; i < c().depth; ++i) {
      x = blocks_[static_cast<std::size_t>(i)](ctx, std::move(x), i + 1 == c().depth ? row : nullptr);
      ctx.shown("blocks", i, x);
      const std::int64_t peg = i - c().peg_after_block;
      if (peg < 0 || peg >= c().pegs) continue;
      x = pegs_[static_cast<std::size_t>(peg)](ctx, x, grid, prefix_.size());
      if (ctx.probe != nullptr) ctx.shown("pos_block", peg, prefix_.cut({}, x));  // the class token passes by
    }
    return ctx.shown("norm", norm_(ctx, x));
  }

  PatchEmbed patch_embed_;
  Prefix prefix_;
  std::vector<Block> blocks_;
  std::vector<PegLayer> pegs_;
  LayerNorm norm_;
  Head head_;
};

void from_shapes(const NamedShapes& s, CpvtConfig& c) {
  c.peg_kernel = s.dim("pos_block.0.proj.0.weight", 2);
  c.pegs = s.count("pos_block", ".proj.0.weight");
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  s.ratio("blocks.0.mlp.fc1.weight", c.mlp_ratio);
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias");
  c.pool = s.has("cls_token") ? CpvtConfig::Pool::cls : CpvtConfig::Pool::mean;
  s.assume("peg_after_block", c.peg_after_block, std::int64_t{0}, c.peg_after_block + c.pegs <= c.depth);
  assume_heads("cpvt", s, c.dim, c.heads);
  s.assume("img_size", c.input.img_size);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<CpvtConfig>> variants() {
  struct Size {
    const char *name, *initial;
    std::int64_t heads;
  };
  std::vector<Variant<CpvtConfig>> out;
  for (const bool gap : {false, true})
    for (const Size& size : {Size{"tiny", "ti", 3}, Size{"small", "s", 6}, Size{"base", "b", 12}}) {
      Variant<CpvtConfig>& v = out.emplace_back();
      const char* end = gap ? "_gap" : "";
      v.name = fmt::format("cpvt_{}{}", size.name, end);
      v.aliases = {fmt::format("cpvt_{}{}", size.initial, end)};
      v.config.dim = 64 * size.heads;
      v.config.heads = size.heads;
      v.config.pool = gap ? CpvtConfig::Pool::mean : CpvtConfig::Pool::cls;
      v.config.drop_path = 0.1;
      v.preprocess.crop_pct = 0.875;
      v.note = gap ? "CPVT-GAP, Chu et al. 2021: no class token, the mean of the patches"
                   : "CPVT, Chu et al. 2021: DeiT whose positions come from a convolution";
    }
  return out;
}

std::vector<Renames> renames() { return same_names({"Meituan-AutoML/Twins"}); }

}  // namespace
}  // namespace cpvt_model

const Family kCpvt =
    family<cpvt_model::Cpvt, cpvt_model::variants, cpvt_model::renames, cpvt_model::from_shapes>("cpvt");

}  // namespace locant
