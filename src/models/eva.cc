// EVA-02: Fang et al. 2023, "EVA-02: A Visual Representation for Neon Genesis", section 2.1 (SwiGLU, normed
// inside, and RoPE); its CLIP towers: Sun et al. 2023, "EVA-CLIP". RoPE-ViT: Heo et al. 2024, "Rotary
// Position Embedding for Vision Transformer", figure 2 (axial and mixed frequencies). Names: timm's class
// Eva, but for what it parts in models that norm inside their MLP: q, k and v, and the halves of SwiGLU.
// Two families of one class, as in timm: apart, each would repeat the blocks.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/rope_2d.h"

namespace locant {
namespace eva_model {
namespace {

struct EvaConfig {
  enum class MlpKind { plain, swiglu_packed };  // fc1, GELU, fc2; or fc1 (gate first) of SwiGLU, fc2
  enum class QkvBias { none, q_v, full };
  enum class Rope { none, axial, mixed };
  enum class Freqs { by_head, joined };  // how files hold learned frequencies of a block: timm, naver-ai
  enum class Order { yx, xy };           // which axis the first half of a head's channels turns by
  enum class Pool { cls, mean_patches };
  enum class FinalNorm { norm, fc_norm };  // of all tokens, or of their mean
  enum class BlockNorm { pre, post };      // post: of what the branch gives
  PatchInput input = {};                   // img_size: what the position table is made for
  std::int64_t dim = 384, depth = 12, heads = 6;
  MlpKind mlp = MlpKind::plain;
  double mlp_ratio = 4.0;
  std::int64_t mlp_hidden = 0;  // 0: mlp_ratio * dim
  bool mlp_norm = false;        // of the hidden channels
  bool attn_norm = false;       // of the heads together, before their projection
  QkvBias qkv_bias = QkvBias::full;
  float norm_eps = 1e-6f;
  std::vector<std::string> prefix_tokens = {"cls_token"};  // reg_token: so many registers
  std::int64_t registers = 0;
  bool pos_embed = false;         // learned, beside RoPE
  bool pos_embed_prefix = false;  // the table has rows for the prefix tokens
  std::string pos_resize = "bicubic_antialias";
  Rope rope = Rope::axial;
  Freqs rope_freqs = Freqs::by_head;
  Order rope_order = Order::xy;
  Pair rope_ref_grid = {0, 0};  // the grid that coordinates are scaled to; 0: as they are
  bool layer_scale = true;
  float layer_scale_init = 1e-4f;
  bool deep_init = false;  // branches start smaller the deeper they are, the head near zero (EVA)
  BlockNorm block_norm = BlockNorm::pre;
  Pool pool = Pool::cls;
  FinalNorm final_norm = FinalNorm::norm;
  double drop_path = 0.0;  // of the last block; rises from 0

  bool swiglu() const { return mlp == MlpKind::swiglu_packed; }
  std::int64_t hidden() const { return mlp_hidden > 0 ? mlp_hidden : scaled_width(dim, mlp_ratio); }
  std::int64_t prefix() const {
    const bool cls = !prefix_tokens.empty() && prefix_tokens[0] == "cls_token";
    return (cls ? 1 : 0) + registers;
  }
  double temperature() const {
    return rope == Rope::mixed ? 10.0 : rope_order == Order::xy ? 100.0 : 10000.0;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.choice("mlp", c.mlp, {"plain", "swiglu_packed"});
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("mlp_hidden", c.mlp_hidden);
  a.field("mlp_norm", c.mlp_norm);
  a.field("attn_norm", c.attn_norm);
  a.choice("qkv_bias", c.qkv_bias, {"none", "q_v", "full"});
  a.field("norm_eps", c.norm_eps);
  a.field("prefix_tokens", c.prefix_tokens);
  a.field("registers", c.registers);
  a.choice("pos_embed", c.pos_embed, {"none", "learned"});
  a.field("pos_embed_prefix", c.pos_embed_prefix);
  a.field("pos_resize", c.pos_resize);
  a.choice("rope", c.rope, {"none", "axial", "mixed"});
  a.choice("rope_freqs", c.rope_freqs, {"by_head", "joined"});
  a.choice("rope_order", c.rope_order, {"yx", "xy"});
  a.field("rope_ref_grid", c.rope_ref_grid);
  a.field("layer_scale", c.layer_scale);
  a.field("layer_scale_init", c.layer_scale_init);
  a.field("deep_init", c.deep_init);
  a.choice("block_norm", c.block_norm, {"pre", "post"});
  a.choice("pool", c.pool, {"cls", "mean_patches"});
  a.choice("final_norm", c.final_norm, {"norm", "fc_norm"});
  a.field("drop_path", c.drop_path, rate());
  a.only("act", c.swiglu() ? "silu" : "gelu");
  a.only("rope_pairs", "interleaved");
  a.only("temperature", c.temperature());
}

void check(const std::string& op, const EvaConfig& c) {
  if (c.pos_embed) c.input.require_whole_patches(op);
  require(c.hidden() > 0, op, "mlp_ratio {} leaves dim {} no hidden channel", c.mlp_ratio, c.dim);
  std::vector<std::string> tokens = c.prefix_tokens;
  const bool registers = !tokens.empty() && tokens.back() == "reg_token";
  if (registers) tokens.pop_back();
  require(tokens.empty() || tokens == std::vector<std::string>{"cls_token"}, op,
          "prefix_tokens are [{}]; there are cls_token and reg_token, in this order, each or none",
          fmt::join(c.prefix_tokens, ", "));
  require(registers == (c.registers > 0), op,
          "registers {} with prefix_tokens [{}]: reg_token stands for them", c.registers,
          fmt::join(c.prefix_tokens, ", "));
  require(!tokens.empty() || c.pool == EvaConfig::Pool::mean_patches, op,
          "pool cls needs the prefix token cls_token");
  require(c.final_norm == EvaConfig::FinalNorm::norm || c.pool == EvaConfig::Pool::mean_patches, op,
          "final_norm fc_norm goes with pool mean_patches");
  require(c.rope == EvaConfig::Rope::none || c.dim / c.heads % 4 == 0, op,
          "heads of {} channels; RoPE on a grid needs a multiple of 4: pairs for either axis",
          c.dim / c.heads);
  require(c.rope != EvaConfig::Rope::mixed || c.rope_order == EvaConfig::Order::xy, op,
          "rope mixed has its frequencies of x first: rope_order must be xy");
  const Pair ref = c.rope_ref_grid;
  require((ref.rows > 0) == (ref.columns > 0), op, "rope_ref_grid {} x {}; both sides or neither are 0",
          ref.rows, ref.columns);
  require(ref.rows == 0 || (c.rope == EvaConfig::Rope::axial && c.rope_order == EvaConfig::Order::yx), op,
          "rope_ref_grid {} x {} goes with rope axial and rope_order yx", ref.rows, ref.columns);
  require(c.block_norm == EvaConfig::BlockNorm::pre || !c.layer_scale, op,
          "block_norm post has no LayerScale: layer_scale must be false");
}

/// A branch's last product; blocks count from 1.
Linear last_linear(const Weights& w, std::int64_t in, std::int64_t out, const EvaConfig& c,
                   std::int64_t block) {
  const float std = c.deep_init ? 0.02f / std::sqrt(2.0f * static_cast<float>(block)) : 0.02f;
  return {w, in, out, {.weight_init = Init::trunc_normal(std)}};
}

/// Attention whose q and k of patches turn by their place: `qkv` (3 C, C; rows q, k, v), with q_v `q_bias`
/// and `v_bias` (C), `norm`, `proj`.
class RotaryAttention {
 public:
  RotaryAttention(const Weights& w, const EvaConfig& c, std::int64_t block) : prefix_(c.prefix()) {
    options_.heads = c.heads;
    if (c.qkv_bias == EvaConfig::QkvBias::q_v) {
      q_bias_ = w.get("q_bias", {c.dim}, Init::zeros());
      v_bias_ = w.get("v_bias", {c.dim}, Init::zeros());
    }
    qkv_ = Linear(w / "qkv", c.dim, 3 * c.dim, {.bias = c.qkv_bias == EvaConfig::QkvBias::full});
    if (c.attn_norm) norm_.emplace(w / "norm", c.dim, c.norm_eps);
    proj_ = last_linear(w / "proj", c.dim, c.dim, c, block);
  }
  /// x (B, N, C) -> the same, plus skip where that is defined. `turn`: angles of the patches; nullptr: none.
  Var operator()(const Context& ctx, const Var& x, const RotaryTable* turn, const Var& skip) const {
    Var qkv = qkv_(ctx, x);
    if (q_bias_.defined()) {
      const Var k_bias(Tensor::zeros(q_bias_.shape()));
      qkv = add(ctx, qkv, concat_axis(ctx, {q_bias_, k_bias, v_bias_}, 0));
    }
    Var y = turn == nullptr ? attention(ctx, qkv, options_) : turned(ctx, qkv, x.dim(2), *turn);
    if (norm_) y = (*norm_)(ctx, y);
    return proj_(ctx, y, Activation::none, skip);
  }

 private:
  Var turned(const Context& ctx, const Var& qkv, std::int64_t C, const RotaryTable& turn) const {
    const auto part = [&](std::int64_t i) { return slice_axis(ctx, qkv, 2, i * C, (i + 1) * C); };
    const auto rotated = [&](const Var& t) {
      return rotate(ctx, t, options_.heads, turn, Pairing::neighbours, prefix_);
    };
    return attention(ctx, rotated(part(0)), rotated(part(1)), part(2), options_);
  }

  AttentionOptions options_;
  std::int64_t prefix_;
  Var q_bias_, v_bias_;
  Linear qkv_, proj_;
  std::optional<LayerNorm> norm_;
};

/// fc2 n(gelu(fc1 x)), or fc2 n(silu(g) * u) with [g | u] = fc1 x; n: `norm` with mlp_norm, else nothing.
class FeedForward {
 public:
  FeedForward(const Weights& w, const EvaConfig& c, std::int64_t block) : swiglu_(c.swiglu()) {
    fc1_ = Linear(w / "fc1", c.dim, (swiglu_ ? 2 : 1) * c.hidden());
    if (c.mlp_norm) norm_.emplace(w / "norm", c.hidden(), c.norm_eps);
    fc2_ = last_linear(w / "fc2", c.hidden(), c.dim, c, block);
  }
  Var operator()(const Context& ctx, const Var& x, const Var& skip) const {
    Var hidden = swiglu_ ? swiglu(ctx, fc1_(ctx, x)) : fc1_(ctx, x, Activation::gelu);
    if (norm_) hidden = (*norm_)(ctx, hidden);
    return fc2_(ctx, hidden, Activation::none, skip);
  }

 private:
  bool swiglu_;
  Linear fc1_, fc2_;
  std::optional<LayerNorm> norm_;
};

/// pre: x + gamma_1 attention(norm1 x), then + gamma_2 mlp(norm2 x).
/// post: x + norm1 attention(x), then + norm2 mlp(x).
class Block {
 public:
  Block(const Weights& w, const EvaConfig& c, std::int64_t number, float drop_path)
      : post_norm_(c.block_norm == EvaConfig::BlockNorm::post),
        norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c, number),
        mlp_(w / "mlp", c, number) {
    const auto residual = [&](const char* gamma) {
      return Residual(drop_path,
                      c.layer_scale ? w.get(gamma, {c.dim}, Init::constant(c.layer_scale_init)) : Var());
    };
    residual1_ = residual("gamma_1");
    residual2_ = residual("gamma_2");
  }
  Var operator()(const Context& ctx, const Var& x, const RotaryTable* turn) const {
    const Var y = branch(ctx, x, norm1_, residual1_,
                         [&](const Var& in, const Var& skip) { return attention_(ctx, in, turn, skip); });
    return branch(ctx, y, norm2_, residual2_,
                  [&](const Var& in, const Var& skip) { return mlp_(ctx, in, skip); });
  }

 private:
  template <class Layer>
  Var branch(const Context& ctx, const Var& x, const LayerNorm& norm, const Residual& residual,
             const Layer& layer) const {
    return residual(ctx, x, [&](const Var& skip) {
      if (!post_norm_) return layer(norm(ctx, x), skip);
      const Var y = norm(ctx, layer(x, Var()));
      return skip.defined() ? add(ctx, skip, y) : y;
    });
  }

  bool post_norm_;
  LayerNorm norm1_, norm2_;
  RotaryAttention attention_;
  FeedForward mlp_;
  Residual residual1_, residual2_;
};

/// Of `freqs`: (2, depth, heads, pairs), x first, or heads and pairs in one axis.
Shape freqs_shape(const EvaConfig& c) {
  if (c.rope_freqs == EvaConfig::Freqs::joined) return Shape{2, c.depth, c.dim / 2};
  return Shape{2, c.depth, c.heads, c.dim / c.heads / 2};
}

/// Its start: for each block and head a direction of its own.
Tensor mixed_init(const EvaConfig& c) {
  const std::int64_t D = c.dim / c.heads, row = c.heads * D / 2;
  Tensor out(freqs_shape(c));
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const Tensor block = rope_mixed_init(c.heads, D, static_cast<std::uint64_t>(i));
    for (std::int64_t axis = 0; axis < 2; ++axis)
      std::copy_n(block.data() + axis * row, row, out.data() + (axis * c.depth + i) * row);
  }
  return out;
}

class Eva final : public ImageModelOf<EvaConfig> {
 public:
  Eva(const Family& family, EvaConfig config, const Weights& w) : ImageModelOf(family, std::move(config)) {
    const EvaConfig& c = this->c();
    for (const std::string& name : c.prefix_tokens)
      prefix_.add(w, name, name == "reg_token" ? c.registers : 1, c.dim, Init::trunc_normal(0.02f));
    if (c.pos_embed) {
      const std::int64_t rows = c.pos_embed_prefix ? c.prefix() : 0;
      position_ = PositionTable{c.input.grid(), rows, c.dim, c.pos_resize}(w);
    }
    patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
    if (c.rope == EvaConfig::Rope::mixed) {
      const Tensor start = w.mode() == WeightMode::shapes ? Tensor() : mixed_init(c);
      freqs_ = (w / "rope")
                   .get("freqs", freqs_shape(c), start.defined() ? Init::given(start) : Init::zeros(),
                        {.decay = false});
    }
    const std::vector<float> rates = drop_rates(c.depth, c.drop_path);
    for (std::int64_t i = 0; i < c.depth; ++i)
      blocks_.emplace_back(w / "blocks" / i, c, i + 1, rates[static_cast<std::size_t>(i)]);
    pool_ = FinalPool(w, {.width = c.dim,
                          .eps = c.norm_eps,
                          .mean = c.pool == EvaConfig::Pool::mean_patches,
                          .norms_mean = c.final_norm == EvaConfig::FinalNorm::fc_norm});
    head_ = Head(w / "head", c.dim, c.input.num_classes,
                 {.weight_init = Init::trunc_normal(c.deep_init ? 2e-5f : 0.02f)});
  }
  Var forward(const Context& ctx, const Var& images) const override {
    return head_(ctx, pool_(ctx, encode(ctx, images), prefix_.size()));
  }
  Features features(const Context& ctx, const Var& images) const override {
    const Var x = encode(ctx, images);
    return {.levels = {c().input.level(op(), images, prefix_.cut(ctx, x))},
            .cls = pool_(ctx, x, prefix_.size())};
  }

 private:
  /// [class | registers | patches], normed unless their mean is: (B, prefix + rows * columns, C).
  Var encode(const Context& ctx, const Var& images) const {
    const Grid grid = c().input.grid(op(), images);
    Var x = embed(ctx, images, grid);
    std::optional<RotaryTable> turn;
    if (c().rope == EvaConfig::Rope::axial) turn = axial(grid);
    for (std::int64_t i = 0; i < c().depth; ++i) {
      if (c().rope == EvaConfig::Rope::mixed) turn = mixed(ctx, grid, i);
      x = ctx.shown("blocks", i, blocks_[static_cast<std::size_t>(i)](ctx, x, turn ? &*turn : nullptr));
    }
    return pool_.tokens(ctx, x);
  }
  Var embed(const Context& ctx, const Var& images, Grid grid) const {
    Var x = ctx.shown("patch_embed", patch_embed_(ctx, images));
    if (c().pos_embed && !c().pos_embed_prefix) x = position_.add_to(ctx, x, grid.rows, grid.columns);
    x = prefix_.before(ctx, x);
    if (c().pos_embed && c().pos_embed_prefix) x = position_.add_to(ctx, x, grid.rows, grid.columns);
    return ctx.shown("pos_drop", x);
  }
  RotaryTable axial(Grid grid) const {
    Rope2d rope;
    if (c().rope_order == EvaConfig::Order::yx) rope.kind = Rope2dKind::eva02;
    rope.reference_rows = c().rope_ref_grid.rows;
    rope.reference_columns = c().rope_ref_grid.columns;
    return rope_2d_table(rope, grid.rows, grid.columns, c().dim / c().heads);
  }
  RotaryTable mixed(const Context& ctx, Grid grid, std::int64_t block) const {
    const Var freqs = reshape(ctx, slice_axis(ctx, freqs_, 1, block, block + 1), {2, c().dim / 2});
    return rope_mixed_table(ctx, freqs, grid.rows, grid.columns, c().heads);
  }

  Prefix prefix_;
  LearnedAbsolute position_;
  PatchEmbed patch_embed_;
  Var freqs_;  // freqs_shape; mixed
  std::vector<Block> blocks_;
  FinalPool pool_;
  Head head_;
};

/// All but how positions turn.
void from_tensors(const NamedShapes& s, EvaConfig& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  const std::int64_t wide = s.dim("blocks.0.mlp.fc2.weight", 1), in = s.dim("blocks.0.mlp.fc1.weight", 0);
  c.mlp = in == 2 * wide ? EvaConfig::MlpKind::swiglu_packed : EvaConfig::MlpKind::plain;
  if (wide != c.hidden()) c.mlp_hidden = wide;
  c.mlp_norm = s.has("blocks.0.mlp.norm.weight");
  c.attn_norm = s.has("blocks.0.attn.norm.weight");
  c.qkv_bias = s.has("blocks.0.attn.qkv.bias") ? EvaConfig::QkvBias::full
               : s.has("blocks.0.attn.q_bias") ? EvaConfig::QkvBias::q_v
                                               : EvaConfig::QkvBias::none;
  c.layer_scale = s.has("blocks.0.gamma_1");
  c.prefix_tokens.clear();
  for (const char* token : {"cls_token", "reg_token"})
    if (s.has(token)) c.prefix_tokens.emplace_back(token);
  c.registers = s.has("reg_token") ? s.dim("reg_token", 1) : 0;
  const bool fc_norm = s.has("fc_norm.weight");
  c.final_norm = fc_norm ? EvaConfig::FinalNorm::fc_norm : EvaConfig::FinalNorm::norm;
  if (fc_norm || !s.has("cls_token"))
    c.pool = EvaConfig::Pool::mean_patches;
  else if (!s.told("pool"))
    c.pool = EvaConfig::Pool::cls;
  c.pos_embed = s.has("pos_embed");
  if (c.pos_embed) {
    // A table without rows for the prefix is one whose other rows are a square, and that is none with them.
    const std::int64_t rows = s.dim("pos_embed", 1), told = s.told("img_size") ? c.input.grid().tokens() : 0;
    c.pos_embed_prefix =
        NamedShapes::square(rows - c.prefix()).rows > 0 || NamedShapes::square(rows).rows == 0;
    if (told > 0 && (rows == told || rows == told + c.prefix()))
      c.pos_embed_prefix = rows != told || c.prefix() == 0;
    c.input.image_of(s, "eva", rows - (c.pos_embed_prefix ? c.prefix() : 0));
  } else {
    s.assume("img_size", c.input.img_size);
  }
  const std::int64_t axes = s.has("rope.freqs") ? s.at("rope.freqs").rank() : 0;
  if (axes > 0) {
    c.rope = EvaConfig::Rope::mixed;
    c.rope_freqs = axes == 4 ? EvaConfig::Freqs::by_head : EvaConfig::Freqs::joined;
  }
  if (axes == 4)
    c.heads = s.dim("rope.freqs", 2);
  else
    assume_heads("eva", s, c.dim, c.heads);
  s.assume("norm_eps", c.norm_eps);
}

/// Axial as EVA-02 has it: y first, coordinates of the grid of its pre-training.
void assume_eva_rope(const NamedShapes& s, EvaConfig& c) {
  if (s.told("rope")) return;
  c.rope = EvaConfig::Rope::axial;
  if (!s.told("rope_order")) c.rope_order = EvaConfig::Order::yx;
  s.assume("rope_ref_grid", c.rope_ref_grid, {16, 16});
}

void eva02_from_shapes(const NamedShapes& s, EvaConfig& c) {
  from_tensors(s, c);
  require(s.told("rope") || (c.swiglu() && !c.layer_scale && c.registers == 0), "eva02",
          "no SwiGLU as EVA-02 has it, LayerScale, or registers: rope and block_norm must be told");
  assume_eva_rope(s, c);
}

void vit_rope_from_shapes(const NamedShapes& s, EvaConfig& c) {
  from_tensors(s, c);
  if (s.has("rope.freqs")) {
    c.rope = EvaConfig::Rope::mixed;
    c.rope_order = EvaConfig::Order::xy;
    return;
  }
  // timm's with registers and without a class token turn as EVA-02 does, those with one as naver-ai's.
  const bool naver = c.qkv_bias == EvaConfig::QkvBias::full && c.registers == 0 && !c.prefix_tokens.empty();
  const bool timm = c.qkv_bias != EvaConfig::QkvBias::full && c.registers > 0 && c.prefix_tokens.size() == 1;
  require(s.told("rope") || (c.layer_scale && !c.swiglu() && !c.pos_embed && (naver || timm)), "vit_rope",
          "axial frequencies, which no tensor shows: rope must be told");
  if (timm)
    assume_eva_rope(s, c);
  else if (!s.told("rope"))
    c.rope = EvaConfig::Rope::axial;
}

struct Size {
  const char* name;
  std::int64_t dim, depth, heads;
};
constexpr Size kTiny = {"tiny", 192, 12, 3}, kSmall = {"small", 384, 12, 6}, kBase = {"base", 768, 12, 12},
               kLarge = {"large", 1024, 24, 16};

Variant<EvaConfig>& add(std::vector<Variant<EvaConfig>>& out, const std::string& name, const Size& size,
                        std::int64_t patch, std::int64_t image, const char* note) {
  Variant<EvaConfig>& v = out.emplace_back();
  v.name = name;
  v.note = note;
  v.config.input.img_size = {image, image};
  v.config.input.patch_size = {patch, patch};
  v.config.dim = size.dim;
  v.config.depth = size.depth;
  v.config.heads = size.heads;
  v.preprocess.rows = v.preprocess.columns = image;
  return v;
}

void clip_colours(Preprocess& p) {
  p.mean = {0.48145466f, 0.4578275f, 0.40821073f};
  p.std = {0.26862954f, 0.26130258f, 0.27577711f};
}

/// What all of EVA-02 have but the largest.
void as_eva02(Variant<EvaConfig>& v, bool sub_norms) {
  EvaConfig& c = v.config;
  c.mlp = EvaConfig::MlpKind::swiglu_packed;
  c.mlp_ratio = 4.0 * 2 / 3;
  c.mlp_norm = sub_norms;
  c.qkv_bias = EvaConfig::QkvBias::q_v;
  c.pos_embed = c.pos_embed_prefix = true;
  c.rope_order = EvaConfig::Order::yx;
  c.rope_ref_grid = {16, 16};
  c.layer_scale = false;
  c.deep_init = true;
  clip_colours(v.preprocess);
  v.preprocess.crop_pct = v.config.input.img_size.rows == 224 ? 0.9 : 1.0;
}

void pool_mean(EvaConfig& c) {
  c.pool = EvaConfig::Pool::mean_patches;
  c.final_norm = EvaConfig::FinalNorm::fc_norm;
}

std::vector<Variant<EvaConfig>> eva02_variants() {
  std::vector<Variant<EvaConfig>> out;
  for (const Size& size : {kTiny, kSmall, kBase, kLarge}) {
    const bool sub_norms = size.dim > kSmall.dim;
    const std::int64_t image = sub_norms ? 448 : 336;
    Variant<EvaConfig>& tuned =
        add(out, fmt::format("eva02_{}_patch14_{}", size.name, image), size, 14, image,
            "EVA-02, Fang et al. 2023: SwiGLU, RoPE; fine-tuned, names and preprocessing of timm");
    as_eva02(tuned, sub_norms);
    pool_mean(tuned.config);
    tuned.config.drop_path = size.dim == kLarge.dim ? 0.15 : 0.1;
    if (sub_norms) tuned.preprocess.mode = Preprocess::Mode::squash;
    tuned.aliases = {fmt::format("eva02_{}", size.name)};
    Variant<EvaConfig>& trained = add(out, fmt::format("eva02_{}_patch14_224", size.name), size, 14, 224,
                                      "EVA-02, Fang et al. 2023, as pre-trained on masked pictures");
    as_eva02(trained, sub_norms);
    pool_mean(trained.config);
    trained.config.input.num_classes = 0;
  }
  const auto tower = [&](const Size& size, std::int64_t patch, std::int64_t image, std::int64_t width) {
    Variant<EvaConfig>& v =
        add(out, fmt::format("eva02_{}_patch{}_clip_{}", size.name, patch, image), size, patch, image,
            "EVA-02-CLIP's image tower, Sun et al. 2023: the head projects");
    as_eva02(v, true);
    v.config.attn_norm = true;
    v.config.input.num_classes = width;
    return &v;
  };
  tower(kBase, 16, 224, 512);
  tower(kLarge, 14, 224, 768);
  tower(kLarge, 14, 336, 768);
  Variant<EvaConfig>& enormous = *tower({"enormous", 1792, 64, 16}, 14, 224, 1024);
  EvaConfig& c = enormous.config;
  enormous.note = "EVA-02-CLIP's largest image tower, Sun et al. 2023: norms behind the branches, no RoPE";
  c.mlp = EvaConfig::MlpKind::plain;
  c.mlp_ratio = 15360.0 / 1792;
  c.mlp_norm = c.attn_norm = false;
  c.rope = EvaConfig::Rope::none;
  c.rope_ref_grid = {0, 0};
  c.block_norm = EvaConfig::BlockNorm::post;
  return out;
}

std::vector<Variant<EvaConfig>> vit_rope_variants() {
  std::vector<Variant<EvaConfig>> out;
  for (const bool mixed : {false, true})
    for (const bool table : {false, true})
      for (const Size& size : {kSmall, kBase, kLarge}) {
        Variant<EvaConfig>& v = add(
            out,
            fmt::format("vit_{}_patch16_rope{}{}_224", size.name, mixed ? "_mixed" : "", table ? "_ape" : ""),
            size, 16, 224,
            mixed ? "RoPE-ViT, Heo et al. 2024: learned frequencies of both axes"
                  : "RoPE-ViT, Heo et al. 2024: half of the channels turn by x, half by y");
        v.aliases = {fmt::format("rope_{}{}_deit_{}_patch16_LS", mixed ? "mixed" : "axial",
                                 table ? "_ape" : "", size.name)};
        v.preprocess.crop_pct = 0.9;
        v.config.pos_embed = table;
        if (mixed) v.config.rope = EvaConfig::Rope::mixed;
        v.config.drop_path = size.dim == kSmall.dim ? 0.0 : size.dim == kBase.dim ? 0.1 : 0.4;
      }
  const auto small_batch = [&](const Size& size, std::int64_t registers) -> auto& {
    Variant<EvaConfig>& v =
        add(out, fmt::format("vit_{}_patch16_rope_reg{}_gap_256", size.name, registers), size, 16, 256,
            "timm's ViT with registers, RoPE as EVA-02 has it, the mean of the patches");
    v.config.qkv_bias = EvaConfig::QkvBias::q_v;
    v.config.prefix_tokens = {"reg_token"};
    v.config.registers = registers;
    v.config.layer_scale_init = 1e-5f;
    v.config.deep_init = true;
    v.config.rope_order = EvaConfig::Order::yx;
    v.config.rope_ref_grid = {16, 16};
    pool_mean(v.config);
    v.preprocess.mean = v.preprocess.std = {0.5f, 0.5f, 0.5f};
    v.preprocess.crop_pct = 0.95;
    return v;
  };
  small_batch({"medium", 512, 12, 8}, 1);
  small_batch({"mediumd", 512, 20, 8}, 1).config.qkv_bias = EvaConfig::QkvBias::none;
  clip_colours(small_batch({"betwixt", 640, 12, 10}, 4).preprocess);
  small_batch(kBase, 1);
  return out;
}

/// Models that norm inside their MLP keep q, k and v, and SwiGLU's halves, apart.
void add_parts(Renames& names, const char* gate, const char* other) {
  names.rules.insert(
      names.rules.begin(),
      {{"blocks.{i}.attn.qkv.weight",
        {"blocks.{i}.attn.q_proj.weight", "blocks.{i}.attn.k_proj.weight", "blocks.{i}.attn.v_proj.weight"}},
       {"blocks.{i}.mlp.fc1", {gate, other}}});
  names.of = {"mlp_norm"};
}

/// EVA-02's own code, and its CLIP's.
std::vector<Renames> official_names() {
  Renames whole;
  whole.naming = "baaivision/EVA";
  whole.derived = {"*rope.freqs_cos", "*rope.freqs_sin"};
  whole.unused = {"mask_token", "lm_head.*"};
  whole.rules = {{"blocks.{i}.attn.norm", "blocks.{i}.attn.inner_attn_ln"},
                 {"blocks.{i}.mlp.norm", "blocks.{i}.mlp.ffn_ln"}};
  Renames apart = whole, plain = whole;
  plain.of = {"mlp=plain"};
  whole.rules.push_back({"blocks.{i}.mlp.fc1", "blocks.{i}.mlp.w12"});
  whole.of = {"!mlp_norm", "mlp=swiglu_packed"};
  add_parts(apart, "blocks.{i}.mlp.w1", "blocks.{i}.mlp.w2");
  for (Renames* names : {&whole, &apart}) names->rules.push_back({"blocks.{i}.mlp.fc2", "blocks.{i}.mlp.w3"});
  return {whole, apart, plain};
}

std::vector<Renames> eva02_renames() {
  Renames whole, apart;
  whole.naming = apart.naming = "timm";
  whole.of = {"!mlp_norm"};
  apart.rules = {{"blocks.{i}.attn.q_bias", "blocks.{i}.attn.q_proj.bias"},
                 {"blocks.{i}.attn.v_bias", "blocks.{i}.attn.v_proj.bias"}};
  add_parts(apart, "blocks.{i}.mlp.fc1_g", "blocks.{i}.mlp.fc1_x");
  std::vector<Renames> out = official_names();
  out.insert(out.begin(), {whole, apart});
  return out;
}

std::vector<Renames> vit_rope_renames() {
  Renames timm, naver;
  timm.naming = "timm";
  naver.naming = "naver-ai/rope-vit";
  naver.rules = {{"rope.freqs", "freqs"}};
  naver.derived = {"freqs_t_x", "freqs_t_y"};
  naver.overrides = {{"", R"({"pos_resize":"bicubic","rope_freqs":"joined"})"}};
  naver.preprocess = {{"", R"({"crop_pct":1.0})"}};
  return {timm, naver};
}

}  // namespace
}  // namespace eva_model

const Family kEva02 =
    family<eva_model::Eva, eva_model::eva02_variants, eva_model::eva02_renames, eva_model::eva02_from_shapes>(
        "eva02");
const Family kVitRope = family<eva_model::Eva, eva_model::vit_rope_variants, eva_model::vit_rope_renames,
                               eva_model::vit_rope_from_shapes>("vit_rope");

}  // namespace locant
