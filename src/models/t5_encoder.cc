// T5's encoder: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
// Transformer", section 2.1 (bucketed bias, norm without mean and bias); gated feed-forward: Shazeer 2020,
// "GLU Variants Improve Transformer". Names: transformers' T5EncoderModel, whose `shared` is the embedding
// and whose first block owns the bias of all. Checkpoints of whole models (T5, FLAN-T5, mT5, ByT5) load as
// their encoder.
#include <fmt/format.h>

#include <cmath>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/norm.h"
#include "ops/rearrange.h"
#include "position/t5_bucket.h"

namespace locant {
namespace t5_encoder_model {
namespace {

struct T5EncoderConfig {
  /// wo(relu(wi x)), or wo(act(wi_0 x) * wi_1 x).
  enum class Ffn { relu, gated_gelu_tanh, gated_silu };
  std::int64_t vocab_size = 32128, dim = 512, depth = 6, heads = 8, head_dim = 64, ffn_dim = 2048;
  std::int64_t num_buckets = 32, max_distance = 128;
  Ffn ffn = Ffn::relu;
  float norm_eps = 1e-6f;
  double dropout = 0.0;  // of embeddings, probabilities, the feed-forward's inside, branches and the result
  std::int64_t inner() const { return heads * head_dim; }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("vocab_size", c.vocab_size, at_least(1));
  a.field("dim", c.dim, at_least(1));
  a.field("depth", c.depth, range(1, 1024));
  a.field("heads", c.heads, range(1, 256));
  a.field("head_dim", c.head_dim, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("num_buckets", c.num_buckets, divisible_by(2, "directions"));
  a.field("max_distance", c.max_distance, at_least(1));
  a.choice("ffn", c.ffn, {"relu", "gated_gelu_tanh", "gated_silu"});
  a.field("norm_eps", c.norm_eps);
  a.field("dropout", c.dropout, rate());
  a.only("norm", "rms");
  a.only("scale", "none");
  a.only("bidirectional", true);
  a.only("mask", "keys");
}

void check(const std::string& op, const T5EncoderConfig& c) {
  require(c.num_buckets >= 4 && c.max_distance > c.num_buckets / 4, op,
          "{} buckets up to a distance of {}; there must be 4 at least, and the distance beyond the {} exact "
          "ones "
          "of a side",
          c.num_buckets, c.max_distance, c.num_buckets / 4);
}

/// No bias and no mean.
class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(const Weights& w, const T5EncoderConfig& c)
      : weight_(w.get("weight", {c.dim}, Init::ones())), eps_(c.norm_eps) {}
  Var operator()(const Context& ctx, const Var& x) const { return rms_norm(ctx, x, weight_, eps_); }

 private:
  Var weight_;
  float eps_ = 1e-6f;
};

/// Without a bias; `variance` is that of its start.
Linear linear_of(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t variance) {
  return {w,
          in,
          out,
          {.bias = false, .weight_init = Init::normal(1.0f / std::sqrt(static_cast<float>(variance)))}};
}

/// x + o(attention(norm x)), q.k not scaled.
class SelfAttentionLayer {
 public:
  SelfAttentionLayer(const Weights& w, const T5EncoderConfig& c) : dropout_(static_cast<float>(c.dropout)) {
    const Weights a = w / "SelfAttention";
    norm_ = RmsNorm(w / "layer_norm", c);
    q_ = linear_of(a / "q", c.dim, c.inner(), c.dim * c.head_dim);
    k_ = linear_of(a / "k", c.dim, c.inner(), c.dim);
    v_ = linear_of(a / "v", c.dim, c.inner(), c.dim);
    o_ = linear_of(a / "o", c.inner(), c.dim, c.inner());
    residual_ = Residual(0.0f, {}, dropout_);
  }
  Var operator()(const Context& ctx, const Var& x, const AttentionOptions& options) const {
    return residual_(ctx, x, [&](const Var& skip) {
      const Var y = norm_(ctx, x);
      return o_(ctx, attention(ctx, q_(ctx, y), k_(ctx, y), v_(ctx, y), options), Activation::none, skip);
    });
  }

 private:
  float dropout_;
  RmsNorm norm_;
  Linear q_, k_, v_, o_;
  Residual residual_;
};

/// x + wo(...(norm x)).
class FeedForwardLayer {
 public:
  FeedForwardLayer(const Weights& w, const T5EncoderConfig& c)
      : ffn_(c.ffn), dropout_(static_cast<float>(c.dropout)) {
    const Weights d = w / "DenseReluDense";
    norm_ = RmsNorm(w / "layer_norm", c);
    const bool gated = ffn_ != T5EncoderConfig::Ffn::relu;
    wi_ = linear_of(d / (gated ? "wi_0" : "wi"), c.dim, c.ffn_dim, c.dim);
    if (gated) gate_ = linear_of(d / "wi_1", c.dim, c.ffn_dim, c.dim);
    wo_ = linear_of(d / "wo", c.ffn_dim, c.dim, c.ffn_dim);
    residual_ = Residual(0.0f, {}, dropout_);
  }
  Var operator()(const Context& ctx, const Var& x) const {
    return residual_(ctx, x, [&](const Var& skip) {
      const Var y = norm_(ctx, x);
      Var h = act(ctx, wi_(ctx, y));
      if (gate_.defined()) h = multiply(ctx, h, gate_(ctx, y));
      return wo_(ctx, dropout(ctx, h, dropout_), Activation::none, skip);
    });
  }

 private:
  Var act(const Context& ctx, const Var& x) const {
    using Ffn = T5EncoderConfig::Ffn;
    return ffn_ == Ffn::relu ? relu(ctx, x) : ffn_ == Ffn::gated_silu ? silu(ctx, x) : gelu_tanh(ctx, x);
  }

  T5EncoderConfig::Ffn ffn_;
  float dropout_;
  RmsNorm norm_;
  Linear wi_, gate_, wo_;
  Residual residual_;
};

class T5Encoder final : public ModelOf<T5EncoderConfig> {
 public:
  T5Encoder(const Family& family, T5EncoderConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    const T5EncoderConfig& c = this->c();
    const Weights encoder = w / "encoder", block = encoder / "block";
    shared_ = w.get("shared.weight", {c.vocab_size, c.dim}, Init::normal(1.0f));
    bias_.buckets = {true, c.num_buckets, c.max_distance};
    bias_.table = (block / 0 / "layer" / 0 / "SelfAttention")
                      .get(T5Bucket::kTable, {c.num_buckets, c.heads},
                           Init::normal(1.0f / std::sqrt(static_cast<float>(c.dim))), {.decay = false});
    for (std::int64_t i = 0; i < c.depth; ++i) {
      attention_.emplace_back(block / i / "layer" / 0, c);
      feed_forward_.emplace_back(block / i / "layer" / 1, c);
    }
    norm_ = RmsNorm(encoder / "final_layer_norm", c);
  }
  std::vector<Port> inputs() const override {
    return {{"input_ids", "B N", "tokens", Port::Kind::ids},
            {"attention_mask", "B N", "0: padding, which no token sees", Port::Kind::mask, true}};
  }
  std::vector<Port> outputs() const override { return {{"last_hidden_state", "B N C", "normed"}}; }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Var& ids = in.at("input_ids");
    const std::int64_t B = ids.dim(0), N = ids.dim(1);
    const auto rate = static_cast<float>(c().dropout);
    AttentionOptions options;
    options.heads = c().heads;
    options.dropout = rate;
    hide_keys(op(), in.get("attention_mask"), B, N, options.key_lengths, options.visibility);
    Var x = gather_rows(ctx, shared_, token_rows(op(), ids, c().vocab_size));
    add_t5_bucket(bias_, N, N, 0, options);
    x = ctx.shown("encoder.embed_tokens", reshape(ctx, x, {B, N, c().dim}));
    x = dropout(ctx, x, rate);
    for (std::size_t i = 0; i < attention_.size(); ++i) {
      x = attention_[i](ctx, x, options);
      x = ctx.shown("encoder.block", static_cast<std::int64_t>(i), feed_forward_[i](ctx, x));
    }
    x = ctx.shown("encoder.final_layer_norm", norm_(ctx, x));
    return {{"last_hidden_state", dropout(ctx, x, rate)}};
  }

 private:
  Var shared_;
  T5Bucket bias_;
  std::vector<SelfAttentionLayer> attention_;
  std::vector<FeedForwardLayer> feed_forward_;
  RmsNorm norm_;
};

void from_shapes(const NamedShapes& s, T5EncoderConfig& c) {
  const std::string attention = "encoder.block.0.layer.0.SelfAttention.",
                    dense = "encoder.block.0.layer.1.DenseReluDense.";
  c.heads =
      s.dim(attention + T5Bucket::kTable, 1);  // what other models of such names have not, or in all blocks
  c.num_buckets = s.dim(attention + T5Bucket::kTable, 0);
  c.vocab_size = s.dim("shared.weight", 0);
  c.dim = s.dim("shared.weight", 1);
  c.depth = s.count("encoder.block", ".layer.0.layer_norm.weight");
  c.head_dim = s.dim(attention + "q.weight", 0) / c.heads;
  c.ffn_dim = s.dim(dense + "wo.weight", 1);
  using Ffn = T5EncoderConfig::Ffn;
  if (s.has(dense + "wi.weight"))
    c.ffn = Ffn::relu;
  else if (!s.told("ffn") || c.ffn == Ffn::relu)
    c.ffn = Ffn::gated_gelu_tanh;  // all but UL2
  s.assume("max_distance", c.max_distance);
  s.assume("norm_eps", c.norm_eps);
}

struct Size {
  const char* name;
  std::int64_t dim, depth, heads, head_dim, ffn_dim;
};

std::vector<Variant<T5EncoderConfig>> variants() {
  std::vector<Variant<T5EncoderConfig>> out;
  const auto add = [&](const char* prefix, const Size& size, std::int64_t vocabulary,
                       T5EncoderConfig::Ffn ffn, const char* note) {
    Variant<T5EncoderConfig>& v = out.emplace_back();
    v.name = fmt::format("{}_{}", prefix, size.name);
    v.config.vocab_size = vocabulary;
    v.config.dim = size.dim;
    v.config.depth = size.depth;
    v.config.heads = size.heads;
    v.config.head_dim = size.head_dim;
    v.config.ffn_dim = size.ffn_dim;
    v.config.ffn = ffn;
    v.config.dropout = 0.1;
    v.note = note;
  };
  using Ffn = T5EncoderConfig::Ffn;
  for (const Size& size : {Size{"small", 512, 6, 8, 64, 2048}, Size{"base", 768, 12, 12, 64, 3072},
                           Size{"large", 1024, 24, 16, 64, 4096}, Size{"3b", 1024, 24, 32, 128, 16384},
                           Size{"11b", 1024, 24, 128, 128, 65536}})
    add("t5", size, 32128, Ffn::relu, "encoder of T5, Raffel et al. 2020");
  const Size newer[] = {{"small", 512, 8, 6, 64, 1024},
                        {"base", 768, 12, 12, 64, 2048},
                        {"large", 1024, 24, 16, 64, 2816},
                        {"xl", 2048, 24, 32, 64, 5120},
                        {"xxl", 4096, 24, 64, 64, 10240}};
  for (const Size& size : newer) {
    add("t5_v1_1", size, 32128, Ffn::gated_gelu_tanh, "encoder of T5 1.1 and FLAN-T5: gated feed-forward");
    out.back().aliases = {fmt::format("flan_t5_{}", size.name)};
  }
  for (const Size& size : newer)
    add("mt5", size, 250112, Ffn::gated_gelu_tanh, "encoder of mT5, Xue et al. 2021: 101 languages");
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = same_names({"transformers"});
  out[0].aliases = {
      {"encoder.embed_tokens.weight", "shared.weight"}};  // one tensor, under either name or both
  out[0].unused = {"decoder.*", "lm_head.*", "classification_head.*", "classifier.*", "qa_outputs.*"};
  return out;
}

std::vector<HubKeys> hub() {
  const HubKeys t5 = {.model_type = "t5",
                      .keys = {{"vocab_size", "vocab_size"},
                               {"d_model", "dim"},
                               {"d_kv", "head_dim"},
                               {"d_ff", "ffn_dim"},
                               {"num_layers", "depth"},
                               {"num_heads", "heads"},
                               {"relative_attention_num_buckets", "num_buckets"},
                               {"relative_attention_max_distance", "max_distance"},
                               {"layer_norm_epsilon", "norm_eps"},
                               {"feed_forward_proj", "ffn"},
                               {"dropout_rate", "dropout"}},
                      .values = {{"feed_forward_proj", R"("gated-gelu")", R"("gated_gelu_tanh")"},
                                 {"feed_forward_proj", R"("gated-silu")", R"("gated_silu")"}},
                      .inert = {"num_decoder_layers", "dense_act_fn", "is_gated_act", "classifier_dropout",
                                "n_positions", "scale_decoder_outputs", "decoder_*"},
                      .written = {.name = "T5Encoder",
                                  .constants = R"({"is_encoder_decoder":false,"use_cache":false,)"
                                               R"("initializer_factor":1.0,"pad_token_id":0,)"
                                               R"("eos_token_id":1})"}};
  HubKeys mt5 = t5;
  mt5.model_type = "mt5";
  mt5.written.name = "MT5Encoder";
  mt5.defaults = R"({"feed_forward_proj":"gated-gelu"})";
  return {t5, mt5};
}

}  // namespace
}  // namespace t5_encoder_model

const Family kT5Encoder =
    family<t5_encoder_model::T5Encoder, t5_encoder_model::variants, t5_encoder_model::renames,
           t5_encoder_model::from_shapes, t5_encoder_model::hub>("t5_encoder");

}  // namespace locant
