// DINOv2: Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision"; with registers:
// Darcet et al. 2023. A pre-norm ViT with LayerScale. Tensor names here are those of Meta's checkpoints,
// stage paths those of timm where Meta has no module (pos_drop: all tokens with their position).
#include <fmt/format.h>

#include "autograd/checkpoint.h"
#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "ops/layout.h"
#include "position/learned_absolute.h"

namespace locant {
namespace dinov2_model {
namespace {

struct Dinov2Config {
  enum class MlpKind { plain, swiglu_packed };  // fc1, GELU, fc2; or w12 (gate first), w3
  enum class Pool { cls, none };                // none: all tokens
  // What a linear classifier sees: the class token (timm), that and the mean of the patches (Hugging Face,
  // Meta), or the class tokens of the last four blocks, oldest first, and that mean (Meta). All normed.
  enum class HeadInput { cls, cls_mean, four_cls_mean };
  // img_size: what the position table is made for. The released backbones have no head.
  PatchInput input = {.img_size = {518, 518}, .patch_size = {14, 14}, .num_classes = 0};
  std::int64_t dim = 384, depth = 12, heads = 6;
  MlpKind mlp = MlpKind::plain;
  double mlp_ratio = 4.0;
  // 0: mlp_ratio * dim, of SwiGLU two thirds of it rounded up to a multiple of 8
  std::int64_t mlp_hidden = 0;
  float norm_eps = 1e-6f;
  std::int64_t registers = 0;    // tokens between cls and patches, without position
  bool mask_token = true;        // stored for masked pre-training and never used here
  bool pos_embed_prefix = true;  // the table has a row for cls (timm with registers: false)
  // By origin. Meta without registers: bicubic_offset, Hugging Face: bicubic; with registers all:
  // bicubic_antialias.
  std::string pos_resize = "bicubic_offset";
  Pool pool = Pool::cls;
  HeadInput head_input = HeadInput::cls_mean;  // where there are classes
  double drop_path = 0.0;                      // the same in every block

  std::int64_t head_width() const {
    return head_input == HeadInput::cls ? dim : head_input == HeadInput::cls_mean ? 2 * dim : 5 * dim;
  }
  bool swiglu() const { return mlp == MlpKind::swiglu_packed; }
  std::int64_t hidden() const {
    if (mlp_hidden > 0) return mlp_hidden;
    const std::int64_t wide = scaled_width(dim, mlp_ratio);
    return swiglu() ? (wide * 2 / 3 + 7) / 8 * 8 : wide;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  patch_fields(a, c.input);
  a.field("heads", c.heads, range(1, 1024));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(0, 1024));
  a.choice("mlp", c.mlp, {"plain", "swiglu_packed"});
  a.field("mlp_ratio", c.mlp_ratio, below(1024));
  a.field("mlp_hidden", c.mlp_hidden);
  a.field("norm_eps", c.norm_eps);
  a.field("registers", c.registers);
  a.field("mask_token", c.mask_token);
  a.field("pos_embed_prefix", c.pos_embed_prefix);
  a.field("pos_resize", c.pos_resize);
  a.choice("pool", c.pool, {"cls", "none"});
  a.choice("head_input", c.head_input, {"cls", "cls_mean", "four_cls_mean"});
  a.field("drop_path", c.drop_path, rate());
  a.only("act", c.swiglu() ? "silu" : "gelu");
  a.only("qkv_bias", "full");
  a.only("pos_embed", "learned");
  a.only("layer_scale", true);
  if constexpr (!std::is_const_v<Config>) {  // never written: `registers` says it
    std::vector<std::string> names, expected = {"cls_token"};
    a.field("prefix_tokens", names);
    const bool timm = !names.empty() && names.back() == "reg_token";
    if (c.registers > 0) expected.emplace_back(timm ? "reg_token" : "register_tokens");
    a.only("prefix_tokens", expected);
  }
}

void check(const std::string& op, const Dinov2Config& c) {
  c.input.require_whole_patches(op);
  require(c.hidden() > 0, op, "mlp_ratio {} leaves dim {} no hidden channel", c.mlp_ratio, c.dim);
  require(c.input.num_classes == 0 || c.head_input != Dinov2Config::HeadInput::four_cls_mean || c.depth >= 4,
          op, "a head on four class tokens needs 4 blocks, here are {}", c.depth);
}

/// W2 gelu(W1 u + b1) + b2, or W3 (silu(a) * b) + b3 with [a | b] = W12 u + b12.
class FeedForward {
 public:
  FeedForward(const Weights& w, const Dinov2Config& c)
      : swiglu_(c.swiglu()),
        in_(w / (swiglu_ ? "w12" : "fc1"), c.dim, (swiglu_ ? 2 : 1) * c.hidden()),
        out_(w / (swiglu_ ? "w3" : "fc2"), c.hidden(), c.dim) {}
  Var operator()(const Context& ctx, const Var& u) const {
    return out_(ctx, swiglu_ ? swiglu(ctx, in_(ctx, u)) : in_(ctx, u, Activation::gelu));
  }

 private:
  bool swiglu_;
  Linear in_, out_;
};

/// x + ls1 * attention(norm1 x), then + ls2 * mlp(norm2 x).
class Block {
 public:
  Block(const Weights& w, const Dinov2Config& c)
      : path_(w.path()),
        norm1_(w / "norm1", c.dim, c.norm_eps),
        norm2_(w / "norm2", c.dim, c.norm_eps),
        attention_(w / "attn", c.dim, c.heads),
        residual1_(static_cast<float>(c.drop_path), w.get("ls1.gamma", {c.dim}, Init::ones())),
        residual2_(static_cast<float>(c.drop_path), w.get("ls2.gamma", {c.dim}, Init::ones())),
        mlp_(w / "mlp", c) {}
  /// `row`, when given, gets the attention of token 0: (B, H, N).
  Var operator()(const Context& ctx, Var x, Tensor* row) const {
    x = residual1_(ctx, x, [&](const Var& skip) { return attention_(ctx, norm1_(ctx, x), skip, row); });
    return residual2_(ctx, x, [&](const Var&) {  // LayerScale always acts: nothing to add here
      const Var y = mlp_(ctx, norm2_(ctx, x));
      ctx.show([&] { return path_ + ".mlp"; }, y);
      return y;
    });
  }

 private:
  std::string path_;
  LayerNorm norm1_, norm2_;
  SelfAttention attention_;
  Residual residual1_, residual2_;
  FeedForward mlp_;
};

class Dinov2 final : public ModelOf<Dinov2Config> {
 public:
  Dinov2(const Family& family, Dinov2Config config, const Weights& w);
  std::vector<Port> inputs() const override { return {{"images", "B C H W", "normalised pictures"}}; }
  std::vector<Port> outputs() const override;
  Features features(const Context& ctx, const Var& images) const override;

 private:
  Values compute(const Context& ctx, const Values& in) const override;
  Var embed(const Context& ctx, const Var& images) const;
  Var encode(const Context& ctx, const Var& images, Tensor* row, std::vector<Var>* last = nullptr) const;
  Var joined(const Context& ctx, const std::vector<Var>& parts) const;

  Prefix positioned_, unpositioned_;  // cls is of those that have a row in the table, or of the others
  LearnedAbsolute position_;
  PatchEmbed patch_embed_;
  std::vector<Block> blocks_;
  LayerNorm norm_;
  Head head_;
};

Dinov2::Dinov2(const Family& family, Dinov2Config config, const Weights& w)
    : ModelOf(family, std::move(config)) {
  const Dinov2Config& c = this->c();
  (c.pos_embed_prefix ? positioned_ : unpositioned_).add(w, "cls_token", 1, c.dim, Init::normal(1e-6f));
  if (c.mask_token) w.get("mask_token", {1, c.dim}, Init::zeros(), {.decay = false});
  position_ = PositionTable{c.input.grid(), positioned_.size(), c.dim, c.pos_resize}(w);
  if (c.registers > 0) unpositioned_.add(w, "register_tokens", c.registers, c.dim, Init::normal(1e-6f));
  patch_embed_ = c.input.patch_embed(w / "patch_embed" / "proj", c.dim);
  for (std::int64_t i = 0; i < c.depth; ++i) blocks_.emplace_back(w / "blocks" / i, c);
  norm_ = LayerNorm(w / "norm", c.dim, c.norm_eps);
  head_ = Head(w / "head", c.head_width(), c.input.num_classes);
}

std::vector<Port> Dinov2::outputs() const {
  const Port cls{"cls", "B C", "class token, normed"};
  const Port tokens{"tokens", "B N C", "class token, registers and patches, normed"};
  if (c().pool == Dinov2Config::Pool::none) return {tokens, cls};
  if (c().input.num_classes > 0) return {{"logits", "B classes"}, cls, tokens};
  return {cls, tokens};
}

Values Dinov2::compute(const Context& ctx, const Values& in) const {
  const bool classifies = c().input.num_classes > 0 && c().pool == Dinov2Config::Pool::cls;
  const bool four = classifies && c().head_input == Dinov2Config::HeadInput::four_cls_mean;
  std::vector<Var> seen;                                                        // (B, C) each
  const Var x = encode(ctx, in.at("images"), nullptr, four ? &seen : nullptr);  // (B, N, C)
  const Var cls = ctx.shown("cls", Prefix::token(ctx, x, 0));
  if (c().pool == Dinov2Config::Pool::none) return {{"tokens", x}, {"cls", cls}};
  if (!classifies) return {{"cls", cls}, {"tokens", x}};
  if (!four) seen = {cls};
  if (c().head_input != Dinov2Config::HeadInput::cls)
    seen.push_back(mean_pool(ctx, x, positioned_.size() + unpositioned_.size()));
  return {{"logits", head_(ctx, seen.size() == 1 ? cls : joined(ctx, seen))}, {"cls", cls}, {"tokens", x}};
}

/// [a | b | ...] of (B, C) each.
Var Dinov2::joined(const Context& ctx, const std::vector<Var>& parts) const {
  std::vector<Var> rows;
  const std::int64_t B = parts[0].dim(0), n = static_cast<std::int64_t>(parts.size());
  for (const Var& part : parts) rows.push_back(reshape(ctx, part, {B, 1, c().dim}));
  return reshape(ctx, concat_rows(ctx, rows), {B, n * c().dim});
}

Features Dinov2::features(const Context& ctx, const Var& images) const {
  Tensor row;
  const Var x = encode(ctx, images, &row);
  const Var patches = unpositioned_.cut(ctx, positioned_.cut(ctx, x));
  Features out;
  out.levels = {c().input.level(op(), images, patches)};
  out.cls = Prefix::token(ctx, x, 0);
  if (row.defined()) out.attention = unpositioned_.cut_row(positioned_.cut_row(row));
  return out;
}

/// `last`, when given, gets the class tokens of the last four blocks, normed.
Var Dinov2::encode(const Context& ctx, const Var& images, Tensor* row, std::vector<Var>* last) const {
  Var x = embed(ctx, images);
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    if (row != nullptr && i + 1 == blocks_.size())
      x = blocks_[i](ctx, x, row);
    else
      x = checkpointed(ctx, x,
                       [this, i](const Context& c, const Var& y) { return blocks_[i](c, y, nullptr); });
    ctx.shown("blocks", static_cast<std::int64_t>(i), x);
    if (last != nullptr && i + 4 >= blocks_.size()) last->push_back(norm_(ctx, Prefix::token(ctx, x, 0)));
  }
  return ctx.shown("norm", norm_(ctx, x));
}

/// [cls | registers | patches], cls and patches with position: (B, 1 + registers + rows * columns, C).
Var Dinov2::embed(const Context& ctx, const Var& images) const {
  const Grid grid = c().input.grid(op(), images);
  const Var patches = ctx.shown("patch_embed", patch_embed_(ctx, images));
  Var x = position_.add_to(ctx, positioned_.before(ctx, patches), grid.rows, grid.columns);
  if (positioned_.size() == 0)
    x = unpositioned_.before(ctx, x);
  else if (unpositioned_.size() > 0)
    x = concat_rows(ctx, {select_rows(ctx, x, 0, positioned_.size()),
                          unpositioned_.before(ctx, positioned_.cut(ctx, x))});
  return ctx.shown("pos_drop", x);
}

void from_shapes(const NamedShapes& s, Dinov2Config& c) {
  c.input.from_shapes(s, "patch_embed.proj.weight", "head.weight");
  c.dim = s.dim("patch_embed.proj.weight", 0);
  c.depth = s.count("blocks", ".norm1.weight");
  const bool meta = s.has("blocks.0.mlp.w12.weight");  // timm calls the packed matrices fc1 and fc2 as well
  const std::int64_t wide = s.dim(meta ? "blocks.0.mlp.w3.weight" : "blocks.0.mlp.fc2.weight", 1);
  const std::int64_t in = s.dim(meta ? "blocks.0.mlp.w12.weight" : "blocks.0.mlp.fc1.weight", 0);
  c.mlp = in == 2 * wide ? Dinov2Config::MlpKind::swiglu_packed : Dinov2Config::MlpKind::plain;
  if (wide != c.hidden()) c.mlp_hidden = wide;
  c.registers = s.has("register_tokens") ? s.dim("register_tokens", 1) : 0;
  c.mask_token = s.has("mask_token");
  // A table without a row for cls is one whose rows are a square.
  const std::int64_t rows = s.dim("pos_embed", 1);
  c.pos_embed_prefix = NamedShapes::square(rows).rows == 0 || NamedShapes::square(rows - 1).rows > 0;
  const std::int64_t told = s.told("img_size") ? c.input.grid().tokens() : 0;
  if (told > 0 && (rows == told || rows == told + 1)) c.pos_embed_prefix = rows != told;
  c.input.image_of(s, "dinov2", rows - (c.pos_embed_prefix ? 1 : 0));
  if (c.input.num_classes > 0)  // C, 2 C or 5 C columns
    c.head_input = s.dim("head.weight", 1) == c.dim       ? Dinov2Config::HeadInput::cls
                   : s.dim("head.weight", 1) == 2 * c.dim ? Dinov2Config::HeadInput::cls_mean
                                                          : Dinov2Config::HeadInput::four_cls_mean;
  assume_heads("dinov2", s, c.dim, c.heads);
  s.assume("norm_eps", c.norm_eps);
  // With registers all agree. Of the others only timm drops the token of masked training.
  if (c.registers > 0)
    c.pos_resize = "bicubic_antialias";
  else
    s.assume("pos_resize", c.pos_resize, std::string(c.mask_token ? "bicubic_offset" : "bicubic_antialias"));
}

std::vector<Variant<Dinov2Config>> variants() {
  struct Size {
    const char *name, *initial;
    std::int64_t dim, depth, heads;
  };
  // Meta's evaluation: short side 256, centre crop 224. Any multiples of 14 do.
  Preprocess preprocess;
  preprocess.crop_pct = 0.875;
  preprocess.resize_to = 256;
  std::vector<Variant<Dinov2Config>> out;
  for (const bool registers : {false, true})
    for (const Size& size : {Size{"small", "s", 384, 12, 6}, Size{"base", "b", 768, 12, 12},
                             Size{"large", "l", 1024, 24, 16}, Size{"giant", "g", 1536, 40, 24}}) {
      Dinov2Config c;
      c.dim = size.dim;
      c.depth = size.depth;
      c.heads = size.heads;
      if (size.depth == 40) c.mlp = Dinov2Config::MlpKind::swiglu_packed;
      if (registers) {
        c.registers = 4;
        c.pos_resize = "bicubic_antialias";
      }
      out.push_back({fmt::format("vit_{}_patch14{}_dinov2", size.name, registers ? "_reg4" : ""),
                     c,
                     preprocess,
                     registers ? "DINOv2 with four registers, Darcet et al. 2023; features only"
                               : "DINOv2, Oquab et al. 2023; features only",
                     {fmt::format("dinov2_vit{}14{}", size.initial, registers ? "_reg" : ""),
                      fmt::format("dinov2_{}{}", size.name, registers ? "_reg" : "")}});
    }
  return out;
}

std::vector<HubKeys> hub() {
  HubKeys plain = {
      .model_type = "dinov2",
      .keys = transformer_keys({{"mlp_ratio", "mlp_ratio"},
                                {"drop_path_rate", "drop_path"},
                                {"use_mask_token", "mask_token"},
                                {"use_swiglu_ffn", "mlp"}}),
      .fixed = R"({"pos_resize":"bicubic"})",
      .defaults = R"({"image_size":224,"hidden_size":768,"num_attention_heads":12})",
      .values = {{"use_swiglu_ffn", "true", R"("swiglu_packed")"}, {"use_swiglu_ffn", "false", R"("plain")"}},
      .inert = {"hidden_act", "qkv_bias", "layerscale_value"},
      .written = {.name = "Dinov2",
                  .constants = R"({"hidden_act":"gelu","hidden_dropout_prob":0.0,)"
                               R"("attention_probs_dropout_prob":0.0,"initializer_range":0.02,)"
                               R"("layerscale_value":1.0,"qkv_bias":true,"apply_layernorm":true,)"
                               R"("reshape_hidden_states":true})"}};
  HubKeys registers = plain;
  registers.model_type = "dinov2_with_registers";
  registers.written.name = "Dinov2WithRegisters";
  registers.keys.emplace_back("num_register_tokens", "registers");
  registers.fixed = R"({"pos_resize":"bicubic_antialias"})";
  registers.defaults = merge_config(plain.defaults, R"({"patch_size":16,"num_register_tokens":4})");
  return {plain, registers};
}

const char* const kQuery = "encoder.layer.{i}.attention.attention.query";
const char* const kKey = "encoder.layer.{i}.attention.attention.key";
const char* const kValue = "encoder.layer.{i}.attention.attention.value";

/// Hugging Face. Files on the hub have `weights_in`; transformers 5 may write its two halves apart.
Renames transformers_names(bool halves) {
  Renames out;
  out.naming = "transformers";
  out.prefix = "dinov2.";
  out.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed", "embeddings.patch_embeddings", true},
      {"cls_token", "embeddings.cls_token"},
      {"mask_token", "embeddings.mask_token"},
      {"register_tokens", "embeddings.register_tokens"},
      {"pos_embed", "embeddings.position_embeddings"},
      {"pos_drop", "embeddings", true},
      {"cls", "pooler_output", true},
      {"tokens", "last_hidden_state", true},
      {"resampled pos_embed", "resized position_embeddings"},
      {"blocks.{i}.attn.qkv", {kQuery, kKey, kValue}},
      {"blocks.{i}.attn.proj", "encoder.layer.{i}.attention.output.dense"},
      {"blocks.{i}.attn", "encoder.layer.{i}.attention", true},
      {"blocks.{i}.ls1.gamma", "encoder.layer.{i}.layer_scale1.lambda1"},
      {"blocks.{i}.ls2.gamma", "encoder.layer.{i}.layer_scale2.lambda1"},
      {"blocks.{i}.ls1", "encoder.layer.{i}.layer_scale1"},
      {"blocks.{i}.ls2", "encoder.layer.{i}.layer_scale2"},
      {"blocks.{i}.mlp.w3", halves ? "encoder.layer.{i}.mlp.down_proj" : "encoder.layer.{i}.mlp.weights_out"},
      {"blocks.{i}", "encoder.layer.{i}"},
      {"norm", "layernorm"},
      {"head", "classifier"},
  };
  const auto at = out.rules.end() - 3;
  if (halves)
    out.rules.insert(
        at, {"blocks.{i}.mlp.w12", {"encoder.layer.{i}.mlp.gate_proj", "encoder.layer.{i}.mlp.up_proj"}});
  else
    out.rules.insert(at, {"blocks.{i}.mlp.w12", "encoder.layer.{i}.mlp.weights_in"});
  out.aliases = {
      {"encoder.layer.{i}.attention.q_proj", kQuery},
      {"encoder.layer.{i}.attention.k_proj", kKey},
      {"encoder.layer.{i}.attention.v_proj", kValue},
      {"encoder.layer.{i}.attention.o_proj", "encoder.layer.{i}.attention.output.dense"},
  };
  out.optional = {"mask_token"};
  out.overrides = {{"registers", R"({"pos_resize":"bicubic_antialias"})"},
                   {"!registers", R"({"pos_resize":"bicubic"})"}};
  return out;
}

/// timm. With registers it adds the table's first row to the class token and drops it; the masked-training
/// token is gone. SwiGLU's two matrices have the names of the plain ones: on the way back the plain ones are
/// meant.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"register_tokens", "reg_token"},
      {"blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc1"},
      {"blocks.{i}.mlp.fc2", "blocks.{i}.mlp.fc2"},
      {"blocks.{i}.mlp.w12", "blocks.{i}.mlp.fc1"},
      {"blocks.{i}.mlp.w3", "blocks.{i}.mlp.fc2"},
  };
  out.overrides = {{"", R"({"mask_token":false,"pos_resize":"bicubic_antialias"})"},
                   {"registers", R"({"pos_embed_prefix":false})"}};
  out.preprocess = {{"", R"({"rows":518,"columns":518,"crop_pct":1.0,"resize_to":0})"}};
  return out;
}

std::vector<Renames> renames() {
  Renames meta;
  meta.naming = "facebookresearch/dinov2";
  meta.rules = {{"head", "linear_head"}};
  meta.aliases = {{"blocks.{c}.{i}", "blocks.{i}"}};  // training checkpoints group blocks in chunks
  meta.optional = {"mask_token"};
  meta.overrides = {{"registers", R"({"pos_resize":"bicubic_antialias"})"},
                    {"!registers", R"({"pos_resize":"bicubic_offset"})"}};
  return {meta, timm_names(), transformers_names(false), transformers_names(true)};
}

}  // namespace
}  // namespace dinov2_model

const Family kDinov2 = family<dinov2_model::Dinov2, dinov2_model::variants, dinov2_model::renames,
                              dinov2_model::from_shapes, dinov2_model::hub>("dinov2");

}  // namespace locant
