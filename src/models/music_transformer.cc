// Music Transformer: Huang, Vaswani et al. 2018, "Music Transformer: Generating Music with Long-Term
// Structure". Names: gwinndr/MusicTransformer-Pytorch, whose layers norm behind their branches and add the
// sinusoids of Vaswani et al. 2017 to the tokens.
#include "position/music_transformer.h"

#include "core/error.h"
#include "models/family.h"
#include "models/sequence_input.h"
#include "models/sublayer.h"
#include "nn/positioned_attention.h"
#include "ops/rearrange.h"
#include "position/sinusoidal_1d.h"

namespace locant {
namespace music_transformer_model {
namespace {

struct MusicTransformerConfig {
  std::int64_t vocab_size = 0;  // 0: layers and last norm alone, on tokens that have their positions
  std::int64_t dim = 512, heads = 8, depth = 6, ffn_dim = 1024;
  std::int64_t er_len = 2048;  // rows of Er: the longest sequence
  bool causal = true;
  float norm_eps = 1e-5f;
  double dropout = 0.0;

  PositionedAttention::Options attention() const {
    PositionedAttention::Options out;
    out.width = dim;
    out.heads = heads;
    out.position = AttentionPosition::music_transformer;
    out.causal = causal;
    out.longest = er_len;
    out.dropout = static_cast<float>(dropout);
    return out;
  }
  SublayerOptions sublayer() const { return sublayer_options(*this); }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("vocab_size", c.vocab_size);
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("er_len", c.er_len, at_least(1));
  a.field("causal", c.causal);
  a.field("norm_eps", c.norm_eps);
  a.field("dropout", c.dropout, rate());
  a.only("act", "relu");
  a.only("qkv_bias", "full");
  a.only("block_norm", "post");
  a.only("final_norm", "norm");
}

class MusicTransformerModel final : public ModelOf<MusicTransformerConfig> {
 public:
  MusicTransformerModel(const Family& family, MusicTransformerConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    embedding_ = SequenceEmbedding(w, op(), {.vocab_size = c().vocab_size}, c().dim);
    for (std::int64_t i = 0; i < c().depth; ++i) {
      const Weights layer = w / "layers" / i;
      layers_.emplace_back(layer, PositionedAttention(layer / "self_attn", c().attention()), c().sublayer());
    }
    norm_ = LayerNorm(w / "norm", c().dim, c().norm_eps);
    if (c().vocab_size > 0)
      out_ = Linear(w / "Wout", c().dim, c().vocab_size,
                    {.weight_init = Init::fan_in(c().dim), .bias_init = Init::fan_in(c().dim)});
  }
  static std::vector<std::string> call_options() { return {"length"}; }
  std::vector<Port> inputs() const override {
    std::vector<Port> out = with_options({embedding_.port()}, call_options());
    out[1].note = "of the sequences, where it is to be checked";
    return out;
  }
  std::vector<Port> outputs() const override {
    if (c().vocab_size > 0) return {{"logits", "B N V", "of the token that comes next"}};
    return {{"output", "B N C", "normed"}};
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    Var x = embedding_(ctx, op(), in);
    const std::int64_t N = x.dim(1);
    if (in.get("length").defined())
      require(in.number("length") == N, op(), "{} tokens; length says {}", N, in.number("length"));
    if (c().vocab_size > 0) {
      x = add(ctx, x, Var(sinusoidal_1d(SinusoidLayout::interleaved, N, c().dim)));
      x = dropout(ctx, x, static_cast<float>(c().dropout));
    }
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, [&](const PositionedAttention& attend, const Var& y, const Var& skip) {
        return attend(ctx, y, {}, skip);
      });
      if (ctx.probe != nullptr)  // the official layers have time first
        ctx.shown("layers", static_cast<std::int64_t>(i), permute(ctx, x, {1, 0, 2}));
    }
    x = norm_(ctx, x);
    if (!out_.defined()) return {{"output", x}};
    return {{"logits", out_(ctx, x)}};
  }

 private:
  SequenceEmbedding embedding_;
  std::vector<EncoderLayer<PositionedAttention>> layers_;
  LayerNorm norm_;
  Linear out_;
};

void from_shapes(const NamedShapes& s, MusicTransformerConfig& c) {
  const std::string er = std::string("layers.0.self_attn.") + MusicTransformer::kTable;
  c.er_len = s.dim(er, 0);
  const std::int64_t head_dim = s.dim(er, 1);
  c.dim = s.dim("layers.0.linear1.weight", 1);
  require(head_dim >= 1 && c.dim % head_dim == 0, "music_transformer",
          "heads of {} do not divide a width of {}", head_dim, c.dim);
  c.heads = c.dim / head_dim;
  c.ffn_dim = s.dim("layers.0.linear1.weight", 0);
  c.depth = s.count("layers", ".linear1.weight");
  c.vocab_size = s.has("embedding.weight") ? s.dim("embedding.weight", 0) : 0;
  s.assume("causal", c.causal);
}

std::vector<Variant<MusicTransformerConfig>> variants() {
  Variant<MusicTransformerConfig> v;
  v.name = "music_transformer";
  v.config.vocab_size = 390;
  v.config.dropout = 0.1;
  v.note = "MIDI events: 388 of notes, velocities and times, an end, padding";
  return {v};
}

std::vector<Renames> renames() {
  Renames gwinndr;
  gwinndr.naming = "gwinndr/MusicTransformer-Pytorch";
  gwinndr.prefix = "transformer.encoder.";
  gwinndr.derived = {"positional_encoding.pe"};
  return {gwinndr};
}

}  // namespace
}  // namespace music_transformer_model

const Family kMusicTransformerModel =
    family<music_transformer_model::MusicTransformerModel, music_transformer_model::variants,
           music_transformer_model::renames, music_transformer_model::from_shapes>("music_transformer");

}  // namespace locant
