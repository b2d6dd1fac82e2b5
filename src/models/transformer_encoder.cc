// A Transformer encoder of sequences with a choice of any 1-D position encoding: Vaswani et al. 2017,
// "Attention Is All You Need", figure 1; the encodings are those of Dufter et al. 2021, "Position Information
// in Transformers: An Overview", each cited in its file. Names: torch.nn.TransformerEncoder.
#include <algorithm>

#include "core/error.h"
#include "models/family.h"
#include "models/sequence_input.h"
#include "models/sublayer.h"
#include "nn/positioned_attention.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "position/sinusoidal_1d.h"

namespace locant {
namespace transformer_encoder_model {
namespace {

using Act = SublayerOptions::Act;

struct TransformerEncoderConfig {
  /// Those that are added to the tokens, then AttentionPosition's from rope on.
  enum class Position {
    none,
    sinusoidal_1d,
    learned_absolute,
    rope,
    alibi,
    kerple,
    kerple_power,
    t5_bucket,
    shaw,
    transformer_xl,
    conformer,
    music_transformer,
    relative_key,
    relative_key_query,
    deberta
  };
  /// Whom the head reads: every token, the first, or the mean of all.
  enum class Pool { none, first, mean };
  enum class Norm { post, pre };
  SequenceInput input = {};
  std::int64_t dim = 512, heads = 8, depth = 6, ffn_dim = 2048, num_classes = 0;
  Position position = Position::sinusoidal_1d;
  Pool pool = Pool::none;
  Norm block_norm = Norm::post;
  Act act = Act::relu;
  bool causal = false, final_norm = false;
  std::int64_t max_length = 512;    // of learned_absolute, music_transformer, relative_key
  std::int64_t max_distance = 128;  // t5_bucket, deberta: distances beyond are one
  std::int64_t num_buckets = 32;    // t5_bucket; half the rows of deberta
  std::int64_t clip = 16;           // shaw
  float norm_eps = 1e-5f;
  double dropout = 0.0;

  bool added() const { return position == Position::sinusoidal_1d || position == Position::learned_absolute; }
  PositionedAttention::Options attention() const {
    PositionedAttention::Options out;
    out.width = dim;
    out.heads = heads;
    if (position >= Position::rope)
      out.position =
          static_cast<AttentionPosition>(static_cast<int>(position) - static_cast<int>(Position::rope) +
                                         static_cast<int>(AttentionPosition::rope));
    out.causal = causal;
    out.longest = max_length;
    out.clip = clip;
    out.t5.count = num_buckets;
    out.t5.max_distance = max_distance;
    out.deberta = {.S = num_buckets, .max_position = max_distance};
    out.dropout = static_cast<float>(dropout);
    return out;
  }
  SublayerOptions sublayer() const {
    SublayerOptions out = sublayer_options(*this);
    out.pre_norm = block_norm == Norm::pre;
    out.act = act;
    return out;
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  sequence_fields(a, c.input);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("num_classes", c.num_classes);
  a.choice("position", c.position,
           {"none", "sinusoidal_1d", "learned_absolute", "rope", "alibi", "kerple", "kerple_power",
            "t5_bucket", "shaw", "transformer_xl", "conformer", "music_transformer", "relative_key",
            "relative_key_query", "deberta"});
  a.choice("pool", c.pool, {"none", "first", "mean"});
  a.choice("block_norm", c.block_norm, {"post", "pre"});
  a.choice("act", c.act, {"relu", "gelu"});
  a.field("causal", c.causal);
  a.field("final_norm", c.final_norm);
  a.field("max_length", c.max_length, at_least(1));
  a.field("max_distance", c.max_distance, at_least(2));
  a.field("num_buckets", c.num_buckets, divisible_by(4, "directions, and exact distances of each"));
  a.field("clip", c.clip);
  a.field("norm_eps", c.norm_eps);
  a.field("dropout", c.dropout, rate());
}

void check(const std::string& op, const TransformerEncoderConfig& c) {
  using Position = TransformerEncoderConfig::Position;
  const std::int64_t exact = c.num_buckets / (c.causal ? 2 : 4);
  require(c.position != Position::t5_bucket || c.max_distance > exact, op,
          "max_distance {}; it must be above the {} exact distances of a side", c.max_distance, exact);
  require(c.position != Position::deberta || c.max_distance > c.num_buckets / 2 + 1, op,
          "max_distance {}; it must be above num_buckets / 2 + 1, {}", c.max_distance, c.num_buckets / 2 + 1);
  require(c.position != Position::transformer_xl || c.causal, op,
          "position transformer_xl has no rows for tokens to come: causal must be true (conformer has them)");
}

class TransformerEncoder final : public ModelOf<TransformerEncoderConfig> {
 public:
  TransformerEncoder(const Family& family, TransformerEncoderConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    embedding_ = SequenceEmbedding(w, op(), c().input, c().dim);
    if (c().position == TransformerEncoderConfig::Position::learned_absolute)
      pos_embed_ = w.get("pos_embed", {c().max_length, c().dim}, Init::normal(0.02f), {.decay = false});
    for (std::int64_t i = 0; i < c().depth; ++i) {
      const Weights layer = w / "layers" / i;
      layers_.emplace_back(layer, PositionedAttention(layer / "self_attn", c().attention()), c().sublayer());
    }
    if (c().final_norm) norm_ = LayerNorm(w / "norm", c().dim, c().norm_eps);
    head_ = Head(w / "head", c().dim, c().num_classes);
  }
  std::vector<Port> inputs() const override {
    return {embedding_.port(),
            {"lengths", "B", "tokens of each sample that others see", Port::Kind::lengths, true}};
  }
  std::vector<Port> outputs() const override {
    return {{"output", c().pool == TransformerEncoderConfig::Pool::none ? "B N C" : "B C",
             c().num_classes > 0 ? "logits" : "features"}};
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const std::vector<std::int64_t> lengths = lengths_of(in);
    Var x = placed(ctx, embedding_(ctx, op(), in));
    x = dropout(ctx, x, static_cast<float>(c().dropout));
    for (std::size_t i = 0; i < layers_.size(); ++i)
      x = ctx.shown("layers", static_cast<std::int64_t>(i),
                    layers_[i](ctx, x, [&](const PositionedAttention& attend, const Var& y, const Var& skip) {
                      return attend(ctx, y, lengths, skip);
                    }));
    if (c().final_norm) x = ctx.shown("norm", norm_(ctx, x));
    return {{"output", head_(ctx, pooled(ctx, x, lengths))}};
  }

 private:
  Var placed(const Context& ctx, const Var& x) const {
    const std::int64_t N = x.dim(1);
    if (pos_embed_.defined()) {
      require(N <= c().max_length, op(), "{} tokens; the positions are {} (max_length)", N, c().max_length);
      const Var table = reshape(ctx, pos_embed_, {1, c().max_length, c().dim});
      return add_broadcast(ctx, x, select_rows(ctx, table, 0, N));
    }
    if (!c().added()) return x;
    return add(ctx, x, Var(sinusoidal_1d(SinusoidLayout::interleaved, N, c().dim)));
  }
  /// The mean is that of the tokens within each length.
  Var pooled(const Context& ctx, const Var& x, const std::vector<std::int64_t>& lengths) const {
    using Pool = TransformerEncoderConfig::Pool;
    if (c().pool == Pool::none) return x;
    if (c().pool == Pool::first) return Prefix::token(ctx, x, 0);
    if (lengths.empty()) return mean_pool(ctx, x);
    const std::int64_t B = x.dim(0), N = x.dim(1);
    Tensor share = Tensor::zeros({B, N, 1});
    for (std::int64_t b = 0; b < B; ++b) {
      const std::int64_t length = lengths[static_cast<std::size_t>(b)];
      for (std::int64_t n = 0; n < length; ++n) share[b * N + n] = 1.0f / static_cast<float>(length);
    }
    return reshape(ctx, sum_axis(ctx, multiply(ctx, x, Var(std::move(share))), 1), {B, c().dim});
  }

  SequenceEmbedding embedding_;
  Var pos_embed_;
  std::vector<EncoderLayer<PositionedAttention>> layers_;
  LayerNorm norm_;
  Head head_;
};

/// No tensor tells the heads, nor most encodings.
void from_shapes(const NamedShapes& s, TransformerEncoderConfig& c) {
  const std::string layer = "layers.0.";
  c.dim = s.dim(layer + "linear1.weight", 1);
  c.ffn_dim = s.dim(layer + "linear1.weight", 0);
  require(s.has(layer + "self_attn.in_proj_weight"), "transformer_encoder",
          "there is no {}self_attn.in_proj_weight", layer);
  for (const char* key : {"heads", "position"})
    require(s.told(key), "transformer_encoder", "no tensor tells {}: it must be told (--config)", key);
  c.depth = s.count("layers", ".linear1.weight");
  c.input.vocab_size = s.has("embedding.weight") ? s.dim("embedding.weight", 0) : 0;
  c.input.in_chans = s.has("input.weight") ? s.dim("input.weight", 1) : 0;
  c.final_norm = s.has("norm.weight");
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  const auto rows = [&](const std::string& name, std::int64_t& value) {
    if (s.has(name)) value = s.dim(name, 0);
  };
  const std::string attention = layer + "self_attn.";
  rows("pos_embed", c.max_length);
  rows(attention + MusicTransformer::kTable, c.max_length);
  rows(attention + T5Bucket::kTable, c.num_buckets);
  if (s.has(attention + Huang2020::kTable)) c.max_length = (s.dim(attention + Huang2020::kTable, 0) + 1) / 2;
  if (s.has(attention + Deberta::kTable)) c.num_buckets = s.dim(attention + Deberta::kTable, 0) / 2;
  if (s.has(attention + Shaw::kKeys)) c.clip = (s.dim(attention + Shaw::kKeys, 0) - 1) / 2;
  using Norm = TransformerEncoderConfig::Norm;
  std::string norm = c.block_norm == Norm::pre ? "pre" : "post", act = c.act == Act::gelu ? "gelu" : "relu";
  s.assume("block_norm", norm, std::string("post"));
  s.assume("act", act, std::string("relu"));
  c.block_norm = norm == "pre" ? Norm::pre : Norm::post;
  c.act = act == "gelu" ? Act::gelu : Act::relu;
  s.assume("causal", c.causal);
  s.assume("norm_eps", c.norm_eps);
}

std::vector<Variant<TransformerEncoderConfig>> variants() { return {}; }

std::vector<Renames> renames() { return same_names({"torch"}); }

}  // namespace
}  // namespace transformer_encoder_model

const Family kTransformerEncoder =
    family<transformer_encoder_model::TransformerEncoder, transformer_encoder_model::variants,
           transformer_encoder_model::renames, transformer_encoder_model::from_shapes>("transformer_encoder");

}  // namespace locant
