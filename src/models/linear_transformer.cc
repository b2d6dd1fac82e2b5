// A Transformer encoder with linear attention: Katharopoulos et al. 2020, "Transformers are RNNs: Fast
// Autoregressive Transformers with Linear Attention", section 3; its maps as position/linear_attention.h
// lists them. Names: idiap/fast-transformers, TransformerEncoder.
#include "core/error.h"
#include "models/family.h"
#include "models/sequence_input.h"
#include "models/sublayer.h"
#include "nn/linear_attention.h"
#include "position/sinusoidal_1d.h"

namespace locant {
namespace linear_transformer_model {
namespace {

using Act = SublayerOptions::Act;

struct LinearTransformerConfig {
  enum class Position { none, sinusoidal_1d, rope };
  SequenceInput input = {};
  std::int64_t dim = 512, heads = 8, depth = 6, ffn_dim = 2048, num_classes = 0;
  std::string feature_map = "elu";
  Position position = Position::none;
  Act act = Act::relu;
  bool causal = false, final_norm = true;
  float eps = 1e-6f;  // of the attention's denominator
  float norm_eps = 1e-5f;
  double dropout = 0.0;

  LinearAttentionLayer::Options attention() const {
    LinearAttentionLayer::Options out;
    out.width = dim;
    out.heads = heads;
    out.map = locant::feature_map(feature_map, 1);
    out.causal = causal;
    out.rotate = position == Position::rope;
    out.eps = eps;
    return out;
  }
  SublayerOptions sublayer() const {
    SublayerOptions out = sublayer_options(*this);
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
  a.field("feature_map", c.feature_map);
  a.choice("position", c.position, {"none", "sinusoidal_1d", "rope"});
  a.choice("act", c.act, {"relu", "gelu"});
  a.field("causal", c.causal);
  a.field("final_norm", c.final_norm);
  a.field("eps", c.eps);
  a.field("norm_eps", c.norm_eps);
  a.field("dropout", c.dropout, rate());
}

void check(const std::string& op, const LinearTransformerConfig& c) {
  require(c.feature_map == "elu" || c.feature_map == "relu" || c.feature_map == "taylor", op,
          "unknown feature_map \"{}\"; there are elu, relu, taylor", c.feature_map);
}

class LinearTransformer final : public ModelOf<LinearTransformerConfig> {
 public:
  LinearTransformer(const Family& family, LinearTransformerConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    embedding_ = SequenceEmbedding(w, op(), c().input, c().dim);
    for (std::int64_t i = 0; i < c().depth; ++i) {
      const Weights layer = w / "layers" / i;
      layers_.emplace_back(layer, LinearAttentionLayer(layer / "attention", c().attention()), c().sublayer());
    }
    if (c().final_norm) norm_ = LayerNorm(w / "norm", c().dim, c().norm_eps);
    head_ = Head(w / "head", c().dim, c().num_classes);
  }
  std::vector<Port> inputs() const override {
    return {embedding_.port(),
            {"lengths", "B", "tokens of each sample that others see", Port::Kind::lengths, true}};
  }
  std::vector<Port> outputs() const override {
    return {{"output", "B N C", c().num_classes > 0 ? "logits of each token" : ""}};
  }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const std::vector<std::int64_t> lengths = lengths_of(in);
    Var x = embedding_(ctx, op(), in);
    if (c().position == LinearTransformerConfig::Position::sinusoidal_1d)
      x = add(ctx, x, Var(sinusoidal_1d(SinusoidLayout::interleaved, x.dim(1), c().dim)));
    x = dropout(ctx, x, static_cast<float>(c().dropout));
    for (std::size_t i = 0; i < layers_.size(); ++i)
      x = ctx.shown(
          "layers", static_cast<std::int64_t>(i),
          layers_[i](ctx, x, [&](const LinearAttentionLayer& attend, const Var& y, const Var& skip) {
            const Var out = attend(ctx, y, y, lengths);
            return skip.defined() ? add(ctx, skip, out) : out;
          }));
    if (c().final_norm) x = ctx.shown("norm", norm_(ctx, x));
    return {{"output", head_(ctx, x)}};
  }

 private:
  SequenceEmbedding embedding_;
  std::vector<EncoderLayer<LinearAttentionLayer>> layers_;
  LayerNorm norm_;
  Head head_;
};

void from_shapes(const NamedShapes& s, LinearTransformerConfig& c) {
  c.dim = s.dim("layers.0.attention.query_projection.weight", 1);
  require(s.told("heads"), "linear_transformer", "no tensor tells heads: they must be told (--config)");
  c.ffn_dim = s.dim("layers.0.linear1.weight", 0);
  c.depth = s.count("layers", ".linear1.weight");
  c.input.vocab_size = s.has("embedding.weight") ? s.dim("embedding.weight", 0) : 0;
  c.input.in_chans = s.has("input.weight") ? s.dim("input.weight", 1) : 0;
  c.final_norm = s.has("norm.weight");
  c.num_classes = s.has("head.weight") ? s.dim("head.weight", 0) : 0;
  s.assume("feature_map", c.feature_map);
  s.assume("causal", c.causal);
}

std::vector<Variant<LinearTransformerConfig>> variants() { return {}; }

std::vector<Renames> renames() { return same_names({"idiap/fast-transformers"}); }

}  // namespace
}  // namespace linear_transformer_model

const Family kLinearTransformer =
    family<linear_transformer_model::LinearTransformer, linear_transformer_model::variants,
           linear_transformer_model::renames, linear_transformer_model::from_shapes>("linear_transformer");

}  // namespace locant
