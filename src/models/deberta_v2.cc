// DeBERTa v2 and v3, the encoder: He et al. 2021, "DeBERTa: Decoding-enhanced BERT with Disentangled
// Attention", section 3.1, and 2023, "DeBERTaV3". Names: transformers' DebertaV2Model; whole models (with
// their heads) load as their encoder.
#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/conv_layers.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/deberta.h"

namespace locant {
namespace deberta_v2_model {
namespace {

struct DebertaV2Config {
  enum class ConvAct { tanh, gelu };
  std::int64_t vocab_size = 128100, dim = 768, heads = 12, depth = 12, ffn_dim = 3072;
  std::int64_t embedding_size = 0;  // of a word, projected to dim; 0: dim
  std::int64_t max_position_embeddings = 512;
  std::int64_t max_relative_positions = 512;  // P: where the logarithm ends
  std::int64_t position_buckets = 256;        // S; 0: no logarithm, S = P
  bool norm_rel_ebd = true;                   // a layer norm of the table of distances
  bool share_att_key = true;                  // distances are projected as the content is
  std::vector<std::string> pos_att_type = {"c2p", "p2c"};
  bool position_biased_input = false;  // absolute positions are added to the words
  std::int64_t type_vocab_size = 0;
  std::int64_t conv_kernel_size = 0;  // of a convolution beside the first layer; 0: none
  ConvAct conv_act = ConvAct::tanh;
  float norm_eps = 1e-7f;
  double dropout = 0.0;

  std::int64_t words() const { return embedding_size > 0 ? embedding_size : dim; }
  std::int64_t span() const { return position_buckets > 0 ? position_buckets : max_relative_positions; }
  bool term(const char* name) const {
    return std::find(pos_att_type.begin(), pos_att_type.end(), name) != pos_att_type.end();
  }
  DebertaBuckets buckets() const {
    return {.S = span(), .max_position = position_buckets > 0 ? max_relative_positions : 0};
  }
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("vocab_size", c.vocab_size, at_least(1));
  a.field("heads", c.heads, range(1, 256));
  a.field("dim", c.dim, divisible_by(c.heads, "heads"));
  a.field("depth", c.depth, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("embedding_size", c.embedding_size);
  a.field("max_position_embeddings", c.max_position_embeddings, at_least(1));
  a.field("max_relative_positions", c.max_relative_positions, at_least(1));
  a.field("position_buckets", c.position_buckets);
  a.choice("norm_rel_ebd", c.norm_rel_ebd, {"none", "layer_norm"});
  a.field("share_att_key", c.share_att_key);
  a.field("pos_att_type", c.pos_att_type);
  a.field("position_biased_input", c.position_biased_input);
  a.field("type_vocab_size", c.type_vocab_size);
  a.field("conv_kernel_size", c.conv_kernel_size, range(0, 255));
  a.choice("conv_act", c.conv_act, {"tanh", "gelu"});
  a.field("norm_eps", c.norm_eps);
  a.field("dropout", c.dropout, rate());
  a.only("act", "gelu");
  a.only("scale", fmt::format("{}_head_dim", 1 + c.pos_att_type.size()));
  a.only("mask", "query_and_key");
  a.only("relative_attention", true);
}

void check(const std::string& op, const DebertaV2Config& c) {
  for (const std::string& type : c.pos_att_type)
    require(type == "c2p" || type == "p2c", op, "pos_att_type \"{}\"; there are c2p and p2c", type);
  require(c.pos_att_type.size() == 1 || (c.pos_att_type.size() == 2 && c.term("c2p") && c.term("p2c")), op,
          "pos_att_type [{}]; it must be c2p, p2c, or both", fmt::join(c.pos_att_type, ", "));
  require(c.position_buckets == 0 || c.max_relative_positions - 1 > c.position_buckets / 2, op,
          "max_relative_positions {}; with {} buckets it must be above {}", c.max_relative_positions,
          c.position_buckets, c.position_buckets / 2 + 1);
  require(c.position_buckets != 1, op, "1 position bucket; 2 at least, or 0 for none");
  require(c.conv_kernel_size == 0 || c.conv_kernel_size % 2 == 1, op, "conv_kernel_size {}; it must be odd",
          c.conv_kernel_size);
}

Linear linear_of(const Weights& w, std::int64_t in, std::int64_t out, bool bias = true) {
  return {w, in, out, {.bias = bias, .weight_init = Init::normal(0.02f)}};
}

/// What the layers of one call share.
struct Call {
  Var distances;                      // (1, 2 S, C), normed
  std::vector<std::int64_t> lengths;  // keys that are seen
  AttentionVisibility visibility;
  Var seen, hidden;  // (B, N, 1): 1 where a token is there, and where it is not; undefined: all are
};

/// softmax((q.k + q.Kr + k.Qr) / sqrt(t D)) v. A token that the mask hides sees all, itself hidden ones too,
/// and all alike: the official code fills its whole row with one number.
class DisentangledAttention {
 public:
  DisentangledAttention(const Weights& w, const DebertaV2Config& c)
      : heads_(c.heads), dropout_(static_cast<float>(c.dropout)), buckets_(c.buckets()) {
    query_ = linear_of(w / "query_proj", c.dim, c.dim);
    key_ = linear_of(w / "key_proj", c.dim, c.dim);
    value_ = linear_of(w / "value_proj", c.dim, c.dim);
    if (c.term("c2p")) pos_key_ = c.share_att_key ? key_ : linear_of(w / "pos_key_proj", c.dim, c.dim);
    if (c.term("p2c")) pos_query_ = c.share_att_key ? query_ : linear_of(w / "pos_query_proj", c.dim, c.dim);
  }
  Var operator()(const Context& ctx, const Var& x, const Call& call) const {
    const Var q = query_(ctx, x), k = key_(ctx, x), v = value_(ctx, x);
    const Var distances = dropout(ctx, call.distances, dropout_);
    const auto rows = [&](const Linear& projection) {
      if (!projection.defined()) return Var();
      return reshape(ctx, projection(ctx, distances), {distances.dim(1), distances.dim(2)});
    };
    Deberta deberta;
    deberta.buckets = buckets_;
    deberta.keys = rows(pos_key_);
    deberta.queries = rows(pos_query_);
    AttentionOptions options;
    options.heads = heads_;
    options.dropout = dropout_;
    options.key_lengths = call.lengths;
    options.visibility = call.visibility;
    add_deberta(ctx, deberta, q, k, options);
    const Var out = attention(ctx, q, k, v, options);
    if (!call.seen.defined()) return out;
    const Var mean = reshape(ctx, mean_pool(ctx, v), {v.dim(0), 1, v.dim(2)});
    return add(ctx, multiply(ctx, out, call.seen), multiply(ctx, mean, call.hidden));
  }

 private:
  std::int64_t heads_;
  float dropout_;
  DebertaBuckets buckets_;
  Linear query_, key_, value_, pos_key_, pos_query_;
};

/// Attention and feed-forward, each normed after x is added.
class Layer {
 public:
  Layer(const Weights& w, const DebertaV2Config& c)
      : attention_(w / "attention" / "self", c), dropout_(static_cast<float>(c.dropout)) {
    attention_out_ = linear_of(w / "attention" / "output" / "dense", c.dim, c.dim);
    attention_norm_ = LayerNorm(w / "attention" / "output" / "LayerNorm", c.dim, c.norm_eps);
    intermediate_ = linear_of(w / "intermediate" / "dense", c.dim, c.ffn_dim);
    output_ = linear_of(w / "output" / "dense", c.ffn_dim, c.dim);
    norm_ = LayerNorm(w / "output" / "LayerNorm", c.dim, c.norm_eps);
    residual_ = Residual(0.0f, {}, dropout_);
  }
  Var operator()(const Context& ctx, const Var& x, const Call& call) const {
    const Var y =
        attention_norm_(ctx, residual_(ctx, x, [&](const Var& skip) {
                          return attention_out_(ctx, attention_(ctx, x, call), Activation::none, skip);
                        }));
    return norm_(ctx, residual_(ctx, y, [&](const Var& skip) {
                   return output_(ctx, intermediate_(ctx, y, Activation::gelu), Activation::none, skip);
                 }));
  }

 private:
  DisentangledAttention attention_;
  float dropout_;
  Linear attention_out_, intermediate_, output_;
  LayerNorm attention_norm_, norm_;
  Residual residual_;
};

/// v2's convolution over words, beside the first layer: LN(y + act(conv x)).
class WordConvolution {
 public:
  WordConvolution() = default;
  WordConvolution(const Weights& w, const DebertaV2Config& c)
      : act_(c.conv_act), dropout_(static_cast<float>(c.dropout)) {
    conv_ = Conv1d(w / "conv", c.dim, c.dim, c.conv_kernel_size, Conv1dOptions::same(c.conv_kernel_size));
    norm_ = LayerNorm(w / "LayerNorm", c.dim, c.norm_eps);
  }
  Var operator()(const Context& ctx, const Var& x, const Var& y, const Call& call) const {
    Var h = permute(ctx, conv_(ctx, permute(ctx, x, {0, 2, 1})), {0, 2, 1});
    if (call.seen.defined()) h = multiply(ctx, h, call.seen);
    h = dropout(ctx, h, dropout_);
    h = act_ == DebertaV2Config::ConvAct::gelu ? gelu(ctx, h) : tanh(ctx, h);
    const Var out = norm_(ctx, add(ctx, y, h));
    return call.seen.defined() ? multiply(ctx, out, call.seen) : out;
  }

 private:
  DebertaV2Config::ConvAct act_ = DebertaV2Config::ConvAct::tanh;
  float dropout_ = 0.0f;
  Conv1d conv_;
  LayerNorm norm_;
};

/// Words, their positions and types where there are such, normed.
class Embeddings {
 public:
  Embeddings() = default;
  Embeddings(const Weights& w, const DebertaV2Config& c)
      : vocab_size_(c.vocab_size),
        type_vocab_size_(c.type_vocab_size),
        dropout_(static_cast<float>(c.dropout)) {
    const auto table = [&](const char* name, std::int64_t rows) {
      return w.get(std::string(name) + ".weight", {rows, c.words()}, Init::normal(0.02f));
    };
    words_ = table("word_embeddings", c.vocab_size);
    if (c.position_biased_input)
      positions_ =
          (w / "position_embeddings")
              .get("weight", {c.max_position_embeddings, c.words()}, Init::normal(0.02f), {.decay = false});
    if (c.type_vocab_size > 0) types_ = table("token_type_embeddings", c.type_vocab_size);
    if (c.embedding_size > 0) projection_ = linear_of(w / "embed_proj", c.embedding_size, c.dim, false);
    norm_ = LayerNorm(w / "LayerNorm", c.dim, c.norm_eps);
  }
  bool has_types() const { return types_.defined(); }
  Var operator()(const Context& ctx, const char* op, const Values& in, const Call& call) const {
    const Var& ids = in.at("input_ids");
    const std::int64_t B = ids.dim(0), N = ids.dim(1);
    const Shape shape{B, N, words_.dim(1)};
    Var x = reshape(ctx, gather_rows(ctx, words_, token_rows(op, ids, vocab_size_)), shape);
    if (positions_.defined()) {
      require(N <= positions_.dim(0), op, "{} tokens; there are positions for {}", N, positions_.dim(0));
      const Var table = reshape(ctx, positions_, {1, positions_.dim(0), positions_.dim(1)});
      x = add_broadcast(ctx, x, select_rows(ctx, table, 0, N));
    }
    if (types_.defined()) {
      const Var given = in.get("token_type_ids");
      const Var types = given.defined() ? given : Var(Tensor::zeros({B, N}));
      if (types.shape() != ids.shape())
        fail(op, "token_type_ids of shape {} for input_ids of shape {}", types.shape().str(),
             ids.shape().str());
      x = add(ctx, x, reshape(ctx, gather_rows(ctx, types_, token_rows(op, types, type_vocab_size_)), shape));
    }
    if (projection_.defined()) x = projection_(ctx, x);
    x = norm_(ctx, x);
    if (call.seen.defined()) x = multiply(ctx, x, call.seen);
    return dropout(ctx, x, dropout_);
  }

 private:
  std::int64_t vocab_size_ = 0, type_vocab_size_ = 0;
  float dropout_ = 0.0f;
  Var words_, positions_, types_;
  Linear projection_;
  LayerNorm norm_;
};

class DebertaV2 final : public ModelOf<DebertaV2Config> {
 public:
  DebertaV2(const Family& family, DebertaV2Config config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    const Weights encoder = w / "encoder";
    embeddings_ = Embeddings(w / "embeddings", c());
    for (std::int64_t i = 0; i < c().depth; ++i) layers_.emplace_back(encoder / "layer" / i, c());
    distances_ =
        encoder.get(Deberta::kTable, {2 * c().span(), c().dim}, Init::normal(0.02f), {.decay = false});
    if (c().norm_rel_ebd) norm_ = LayerNorm(encoder / "LayerNorm", c().dim, c().norm_eps);
    if (c().conv_kernel_size > 0) conv_ = WordConvolution(encoder / "conv", c());
  }
  std::vector<Port> inputs() const override {
    std::vector<Port> out = {
        {"input_ids", "B N", "tokens", Port::Kind::ids},
        {"attention_mask", "B N", "0: padding, which no token sees", Port::Kind::mask, true}};
    if (c().type_vocab_size > 0)
      out.push_back({"token_type_ids", "B N", "0 where not given", Port::Kind::ids, true});
    return out;
  }
  std::vector<Port> outputs() const override { return {{"last_hidden_state", "B N C"}}; }

 protected:
  Values compute(const Context& ctx, const Values& in) const override {
    const Call call = of_call(ctx, in);
    const Var words = ctx.shown("embeddings", embeddings_(ctx, op(), in, call));
    Var x = words;
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      x = ctx.shown("encoder.layer", static_cast<std::int64_t>(i), layers_[i](ctx, x, call));
      if (i == 0 && c().conv_kernel_size > 0) x = ctx.shown("encoder.conv", conv_(ctx, words, x, call));
    }
    return {{"last_hidden_state", x}};
  }

 private:
  Call of_call(const Context& ctx, const Values& in) const {
    Call out;
    const Shape& ids = in.at("input_ids").shape();
    const std::int64_t B = ids[0], N = ids[1];
    out.distances = reshape(ctx, distances_, {1, distances_.dim(0), distances_.dim(1)});
    if (c().norm_rel_ebd) out.distances = norm_(ctx, out.distances);
    const Var mask = in.get("attention_mask");
    hide_keys(op(), mask, B, N, out.lengths, out.visibility);
    if (!mask.defined()) return out;
    Tensor seen({B, N, 1}), hidden({B, N, 1});
    bool hides = false;
    for (std::int64_t i = 0; i < B * N; ++i) {
      seen[i] = mask.value()[i] != 0.0f ? 1.0f : 0.0f;
      hidden[i] = 1.0f - seen[i];
      hides = hides || hidden[i] > 0.0f;
    }
    if (!hides) return out;
    out.seen = Var(std::move(seen));
    out.hidden = Var(std::move(hidden));
    return out;
  }

  Embeddings embeddings_;
  std::vector<Layer> layers_;
  Var distances_;
  LayerNorm norm_;
  WordConvolution conv_;
};

void from_shapes(const NamedShapes& s, DebertaV2Config& c) {
  const std::string self = "encoder.layer.0.attention.self.";
  c.dim = s.dim(self + "query_proj.weight", 0);
  const std::int64_t span = s.dim(std::string("encoder.") + Deberta::kTable, 0) / 2;
  c.depth = s.count("encoder.layer", ".output.dense.weight");
  c.ffn_dim = s.dim("encoder.layer.0.output.dense.weight", 1);
  c.vocab_size = s.dim("embeddings.word_embeddings.weight", 0);
  const std::int64_t words = s.dim("embeddings.word_embeddings.weight", 1);
  c.embedding_size = s.has("embeddings.embed_proj.weight") ? words : 0;
  const bool key = s.has(self + "pos_key_proj.weight"), query = s.has(self + "pos_query_proj.weight");
  c.share_att_key = !key && !query;
  if (!c.share_att_key) {
    c.pos_att_type.clear();
    if (key) c.pos_att_type.emplace_back("c2p");
    if (query) c.pos_att_type.emplace_back("p2c");
  } else {
    s.assume("pos_att_type", c.pos_att_type);
  }
  c.position_biased_input = s.has("embeddings.position_embeddings.weight");
  if (c.position_biased_input) c.max_position_embeddings = s.dim("embeddings.position_embeddings.weight", 0);
  const std::string types = "embeddings.token_type_embeddings.weight";
  c.type_vocab_size = s.has(types) ? s.dim(types, 0) : 0;
  c.norm_rel_ebd = s.has("encoder.LayerNorm.weight");
  c.conv_kernel_size = s.has("encoder.conv.conv.weight") ? s.dim("encoder.conv.conv.weight", 2) : 0;
  // The table has a row for each bucket, or for each distance.
  const bool logarithmic = !s.told("position_buckets") || c.position_buckets != 0;
  s.assume("position_buckets", c.position_buckets, span, logarithmic ? c.position_buckets == span : true);
  const auto ends = [&](std::int64_t P) { return P - 1 > span / 2; };
  if (c.position_buckets == 0)
    c.max_relative_positions = span;
  else if (!s.told("max_relative_positions") && s.told("max_position_embeddings") &&
           ends(c.max_position_embeddings))
    c.max_relative_positions = c.max_position_embeddings;  // as its class has it
  else
    s.assume("max_relative_positions", c.max_relative_positions, 2 * span, ends(c.max_relative_positions));
  assume_heads("deberta_v2", s, c.dim, c.heads);
}

std::vector<Variant<DebertaV2Config>> variants() {
  std::vector<Variant<DebertaV2Config>> out;
  const auto add = [&](const char* name, std::int64_t dim, std::int64_t depth, std::int64_t heads,
                       std::int64_t ffn_dim, const char* note) -> DebertaV2Config& {
    Variant<DebertaV2Config>& v = out.emplace_back();
    v.name = name;
    v.note = note;
    v.config.dim = dim;
    v.config.depth = depth;
    v.config.heads = heads;
    v.config.ffn_dim = ffn_dim;
    v.config.dropout = 0.1;
    return v.config;
  };
  const char* v3 = "encoder of DeBERTa v3, replaced-token detection";
  add("deberta_v3_xsmall", 384, 12, 6, 1536, v3);
  add("deberta_v3_small", 768, 6, 12, 3072, v3);
  add("deberta_v3_base", 768, 12, 12, 3072, v3);
  add("deberta_v3_large", 1024, 24, 16, 4096, v3);
  add("mdeberta_v3_base", 768, 12, 12, 3072, "encoder of mDeBERTa v3, 100 languages").vocab_size = 251000;
  for (const auto& [name, depth] : {std::pair{"deberta_v2_xlarge", 24}, {"deberta_v2_xxlarge", 48}}) {
    DebertaV2Config& c =
        add(name, 1536, depth, 24, 6144, "encoder of DeBERTa v2, a convolution beside its first layer");
    c.conv_kernel_size = 3;
    c.conv_act = DebertaV2Config::ConvAct::gelu;
  }
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = same_names({"transformers"});
  out[0].prefix = "deberta.";
  out[0].derived = {"embeddings.position_ids"};
  return out;
}

std::vector<HubKeys> hub() {
  const std::string both = R"(["c2p","p2c"])";
  return {
      {.model_type = "deberta-v2",
       .keys = {{"vocab_size", "vocab_size"},
                {"hidden_size", "dim"},
                {"num_hidden_layers", "depth"},
                {"num_attention_heads", "heads"},
                {"intermediate_size", "ffn_dim"},
                {"hidden_act", "act"},
                {"hidden_dropout_prob", "dropout"},
                {"max_position_embeddings", "max_position_embeddings"},
                {"max_relative_positions", "max_relative_positions"},
                {"position_buckets", "position_buckets"},
                {"norm_rel_ebd", "norm_rel_ebd"},
                {"share_att_key", "share_att_key"},
                {"pos_att_type", "pos_att_type"},
                {"position_biased_input", "position_biased_input"},
                {"relative_attention", "relative_attention"},
                {"type_vocab_size", "type_vocab_size"},
                {"embedding_size", "embedding_size"},
                {"conv_kernel_size", "conv_kernel_size"},
                {"conv_act", "conv_act"},
                {"layer_norm_eps", "norm_eps"}},
       .defaults =
           R"({"hidden_size":1536,"num_hidden_layers":24,"num_attention_heads":24,"intermediate_size":6144,
                           "norm_rel_ebd":"none","share_att_key":false,"position_buckets":-1,
                           "max_relative_positions":-1,"position_biased_input":true,"relative_attention":false})",
       .values = {{"pos_att_type", R"("p2c|c2p")", both},
                  {"pos_att_type", R"("c2p|p2c")", both},
                  {"pos_att_type", R"(["p2c","c2p"])", both},
                  {"pos_att_type", R"("c2p")", R"(["c2p"])"},
                  {"pos_att_type", R"("p2c")", R"(["p2c"])"},
                  {"position_buckets", "-1", "0"},
                  {"max_relative_positions", "-1", "null"},
                  {"embedding_size", "null", "0"}},
       .inert = {"attention_probs_dropout_prob", "initializer_range", "pooler_*", "pad_token_id",
                 "*_token_id", "legacy", "conv_groups", "tie_word_embeddings"},
       .written = {.name = "DebertaV2", .constants = R"({"initializer_range":0.02,"pad_token_id":0})"}}};
}

}  // namespace
}  // namespace deberta_v2_model

const Family kDebertaV2 =
    family<deberta_v2_model::DebertaV2, deberta_v2_model::variants, deberta_v2_model::renames,
           deberta_v2_model::from_shapes, deberta_v2_model::hub>("deberta_v2");

}  // namespace locant
