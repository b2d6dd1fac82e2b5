// Transformer-XL: Dai et al. 2019, "Transformer-XL: Attentive Language Models beyond a Fixed-Length Context",
// section 3 (memory of the segment before, relative attention); adaptive input and softmax: Baevski and Auli
// 2019, Grave et al. 2017. Names: kimiyoung/transformer-xl (pytorch/mem_transformer.py); those of
// transformers' TransfoXLLMHeadModel are the same behind "transformer.", with u and v in every layer.
#include "position/transformer_xl.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/adaptive_softmax.h"
#include "models/family.h"
#include "models/parts.h"
#include "nn/transformer_xl_attention.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/softmax.h"

namespace locant {
namespace transformer_xl_model {
namespace {

struct TransformerXlConfig : AdaptiveVocabulary {
  /// What the first segment sees where there is no memory yet: nothing, or mem_len tokens of zeros.
  enum class FirstMemory { empty, zeros };
  enum class Output { hidden, log_probs };
  std::int64_t depth = 12, heads = 8, head_dim = 64, ffn_dim = 2048;
  bool untie_r = false;  // u and v of each layer's own
  bool pre_norm = false, same_length = false;
  std::int64_t mem_len = 0;  // tokens that a segment leaves to the next
  double clamp_len = -1;     // distances beyond count as this one; -1: none do
  float norm_eps = 1e-5f;
  FirstMemory first_memory = FirstMemory::empty;
  Output output = Output::hidden;
  double dropout = 0.0, dropatt = 0.0;  // dropatt: of probabilities
};

template <class Archive, class Config>
void fields(Archive& a, Config& c) {
  a.field("vocab_size", c.vocab_size, at_least(1));
  a.field("dim", c.dim, divisible_by(2, "halves of sines and cosines"));
  a.field("embed_dim", c.embed_dim, at_least(1));
  a.field("depth", c.depth, range(1, 1024));
  a.field("heads", c.heads, range(1, 256));
  a.field("head_dim", c.head_dim, range(1, 1024));
  a.field("ffn_dim", c.ffn_dim, at_least(1));
  a.field("cutoffs", c.cutoffs, at_least(1));
  a.field("div_val", c.div_val, at_least(1));
  a.field("tie_weight", c.tie_weight);
  a.field("tie_projs", c.tie_projs);
  a.field("untie_r", c.untie_r);
  a.field("pre_norm", c.pre_norm);
  a.field("same_length", c.same_length);
  a.field("mem_len", c.mem_len);
  a.field("clamp_len", c.clamp_len, range(-1, 1 << 20));
  a.field("norm_eps", c.norm_eps);
  a.choice("first_memory", c.first_memory, {"empty", "zeros"});
  a.choice("cluster_order", c.cluster_order, {"rising", "falling"});
  a.choice("output", c.output, {"hidden", "log_probs"});
  a.field("dropout", c.dropout, rate());
  a.field("dropatt", c.dropatt, rate());
  a.only("act", "relu");
  a.only("attn_type", std::int64_t{0});
  a.only("ext_len", std::int64_t{0});
  a.only("causal", true);
}

void check(const std::string& op, const TransformerXlConfig& c) {
  for (std::size_t i = 0; i < c.clusters(); ++i)
    require(c.begin(i) < c.begin(i + 1), op, "cutoffs [{}] of {} tokens; they must rise, and stay below that",
            fmt::join(c.cutoffs, ", "), c.vocab_size);
  require(c.cutoffs.size() < 64 && c.width(c.clusters() - 1) >= 1, op,
          "embed_dim {} divided by div_val {} for each of {} cutoffs leaves nothing", c.embed_dim, c.div_val,
          c.cutoffs.size());
  require(!c.same_length || c.mem_len > 0, op, "same_length without mem_len: the tokens would see nothing");
}

/// x + CoreNet.3(relu(CoreNet.0 x)), normed after, or before the first.
class FeedForward {
 public:
  FeedForward(const Weights& w, const TransformerXlConfig& c)
      : norm_(w / "layer_norm", c.dim, c.norm_eps),
        in_(w / "CoreNet" / 0, c.dim, c.ffn_dim, {.weight_init = Init::normal(0.02f)}),
        out_(w / "CoreNet" / 3, c.ffn_dim, c.dim, {.weight_init = Init::normal(0.02f)}),
        residual_(0.0f, {}, static_cast<float>(c.dropout)),
        dropout_(static_cast<float>(c.dropout)),
        pre_norm_(c.pre_norm) {}
  Var operator()(const Context& ctx, const Var& x) const {
    const Var y = residual_(ctx, x, [&](const Var& skip) {
      const Var hidden = relu(ctx, in_(ctx, pre_norm_ ? norm_(ctx, x) : x));
      return out_(ctx, dropout(ctx, hidden, dropout_), Activation::none, skip);
    });
    return pre_norm_ ? y : norm_(ctx, y);
  }

 private:
  LayerNorm norm_;
  Linear in_, out_;
  Residual residual_;
  float dropout_;
  bool pre_norm_;
};

class TransformerXlModel final : public ModelOf<TransformerXlConfig> {
 public:
  TransformerXlModel(const Family& family, TransformerXlConfig config, const Weights& w)
      : ModelOf(family, std::move(config)) {
    const TransformerXlConfig& c = this->c();
    TransformerXlAttention::Options options;
    options.width = c.dim;
    options.heads = c.heads;
    options.head_width = c.head_dim;
    options.same_length = c.same_length;
    options.mem_len = c.mem_len;
    options.pre_norm = c.pre_norm;
    options.norm_eps = c.norm_eps;
    options.dropout = static_cast<float>(c.dropout);
    options.attention_dropout = static_cast<float>(c.dropatt);
    embedding_ = std::make_shared<const AdaptiveEmbedding>(w / "word_emb", c);
    TransformerXl shared;
    if (!c.untie_r) shared = TransformerXlAttention::biases_of(w, options);
    for (std::int64_t i = 0; i < c.depth; ++i) {
      const Weights layer = w / "layers" / i, attention = layer / "dec_attn";
      attention_.emplace_back(
          attention, c.untie_r ? TransformerXlAttention::biases_of(attention, options) : shared, options);
      feed_forward_.emplace_back(layer / "pos_ff", c);
    }
    softmax_ = AdaptiveSoftmax(w / "crit", c, embedding_, has_softmax());
  }
  static std::vector<std::string> call_options() { return {"segment_len", "segments"}; }
  std::vector<Port> inputs() const override {
    std::vector<Port> out = {{"tokens", "B N", "", Port::Kind::ids}};
    if (has_softmax())
      out.push_back(
          {"targets", "B N", "what comes next, for nll in place of log_probs", Port::Kind::ids, true});
    if (c().mem_len > 0)
      out.push_back({"memory", "layers M B C", "of the call before", Port::Kind::state, true});
    return with_options(std::move(out), call_options());
  }
  std::vector<Port> outputs() const override {
    std::vector<Port> out;
    if (has_softmax())
      out = {{"log_probs", "B N vocabulary", "of what comes next"},
             {"nll", "B N", "where there are targets"}};
    out.push_back({"hidden", "B N C"});
    if (c().mem_len > 0) out.push_back({"memory", "layers M B C", "for the next call", Port::Kind::state});
    return out;
  }

 protected:
  /// Tokens in segments of segment_len (the last may be shorter), each with what those before left; without
  /// that option, in one.
  Values compute(const Context& ctx, const Values& in) const override {
    const Var& tokens = in.at("tokens");
    const std::int64_t B = tokens.dim(0), N = tokens.dim(1), C = c().dim;
    const std::vector<std::int32_t> ids = token_rows(op(), tokens, c().vocab_size);
    const std::int64_t step = segment_length(in, N);
    std::vector<Var> memory = first_memory(in, B);
    std::vector<Var> parts;
    for (std::int64_t begin = 0; begin < N; begin += step) {
      const std::int64_t L = std::min(step, N - begin);
      std::vector<std::int32_t> segment;  // length first
      for (std::int64_t i = begin; i < begin + L; ++i)
        for (std::int64_t b = 0; b < B; ++b) segment.push_back(ids[static_cast<std::size_t>(b * N + i)]);
      parts.push_back(read(ctx, reshape(ctx, (*embedding_)(ctx, segment), {L, B, C}), memory));
    }
    const Var hidden = permute(ctx, parts.size() == 1 ? parts[0] : concat_axis(ctx, parts, 0), {1, 0, 2});
    Values out;
    if (has_softmax()) {
      const Var rows = reshape(ctx, hidden, {B * N, C});
      if (const Var targets = in.get("targets"); targets.defined()) {
        if (targets.shape() != tokens.shape())
          fail(op(), "targets of shape {} for tokens of shape {}", targets.shape().str(),
               tokens.shape().str());
        const Var nll = softmax_.nll(ctx, rows, token_rows(op(), targets, c().vocab_size));
        out.set("nll", reshape(ctx, nll, {B, N}));
      } else {
        out.set("log_probs", reshape(ctx, softmax_.log_probs(ctx, rows), {B, N, c().vocab_size}));
      }
    }
    out.set("hidden", hidden);
    if (c().mem_len == 0) return out;
    const std::int64_t M = memory[0].dim(0);
    for (Var& layer : memory) layer = reshape({}, layer, {1, M, B, C});
    out.set("memory", concat_axis({}, memory, 0));
    return out;
  }

 private:
  bool has_softmax() const { return c().output == TransformerXlConfig::Output::log_probs; }

  std::int64_t segment_length(const Values& in, std::int64_t N) const {
    const bool told = in.get("segment_len").defined();
    const std::int64_t step = told ? in.number("segment_len") : N;
    require(step >= 1, op(), "segment_len {}; it must be 1 at least", step);
    const std::int64_t segments = (N + step - 1) / step;
    if (in.get("segments").defined() && in.number("segments") != segments)
      fail(op(), "{} tokens in segments of {} are {} of them, and {} were said", N, step, segments,
           in.number("segments"));
    return step;
  }

  /// What each layer saw before, (M, B, C); undefined: nothing.
  std::vector<Var> first_memory(const Values& in, std::int64_t B) const {
    const auto depth = static_cast<std::size_t>(c().depth);
    std::vector<Var> out(depth);
    if (c().mem_len == 0) return out;
    if (const Var memory = in.get("memory"); memory.defined()) {
      const Shape& shape = memory.shape();
      if (shape[0] != c().depth || shape[2] != B || shape[3] != c().dim)
        fail(op(), "memory of shape {}; ({}, M, {}, {}) was expected", shape.str(), c().depth, B, c().dim);
      for (std::size_t i = 0; i < depth; ++i) {
        const auto layer = static_cast<std::int64_t>(i);
        if (shape[1] > 0)
          out[i] = Var(memory.value().slice(layer, layer + 1).reshaped({shape[1], B, c().dim}));
      }
    } else if (c().first_memory == TransformerXlConfig::FirstMemory::zeros) {
      std::fill(out.begin(), out.end(), Var(Tensor::zeros({c().mem_len, B, c().dim})));
    }
    return out;
  }

  /// One segment x (L, B, C) through the layers; `memory` becomes that of the next.
  Var read(const Context& ctx, Var x, std::vector<Var>& memory) const {
    const auto rate = static_cast<float>(c().dropout);
    const std::int64_t L = x.dim(0), klen = L + (memory[0].defined() ? memory[0].dim(0) : 0);
    const auto clamp = static_cast<std::int64_t>(std::max(c().clamp_len, 0.0));
    const Var positions = dropout(ctx, Var(transformer_xl_sinusoids(klen, c().dim, clamp)), rate);
    x = dropout(ctx, ctx.shown("word_emb", x), rate);
    for (std::size_t i = 0; i < attention_.size(); ++i) {
      const Var seen = memory[i];
      if (c().mem_len > 0) memory[i] = remembered(seen, x);
      x = attention_[i](ctx, x, seen, positions);
      x = ctx.shown("layers", static_cast<std::int64_t>(i), feed_forward_[i](ctx, x));
    }
    return dropout(ctx, x, rate);
  }

  /// The last mem_len of what a layer has seen. Gradients end here.
  Var remembered(const Var& before, const Var& x) const {
    const std::int64_t M = before.defined() ? before.dim(0) : 0, L = x.dim(0),
                       keep = std::min(M + L, c().mem_len);
    const Var now(x.value());
    if (keep <= L) return slice_axis({}, now, 0, L - keep, L);
    return concat_axis({}, {slice_axis({}, before, 0, M + L - keep, M), now}, 0);
  }

  std::shared_ptr<const AdaptiveEmbedding> embedding_;
  std::vector<TransformerXlAttention> attention_;
  std::vector<FeedForward> feed_forward_;
  AdaptiveSoftmax softmax_;
};

void from_shapes(const NamedShapes& s, TransformerXlConfig& c) {
  using Config = TransformerXlConfig;
  c.dim = s.dim("layers.0.dec_attn.r_net.weight", 1);
  c.depth = s.count("layers", ".dec_attn.r_net.weight");
  c.ffn_dim = s.dim("layers.0.pos_ff.CoreNet.0.weight", 0);
  c.untie_r = !s.has(TransformerXl::kU);
  const std::string u = std::string(c.untie_r ? "layers.0.dec_attn." : "") + TransformerXl::kU;
  c.heads = s.dim(u, 0);
  c.head_dim = s.dim(u, 1);
  const auto table = [](std::int64_t i) { return fmt::format("word_emb.emb_layers.{}.weight", i); };
  c.embed_dim = s.dim(table(0), 1);
  c.vocab_size = s.dim(table(0), 0);
  const std::int64_t tables = s.count("word_emb.emb_layers", ".weight");
  std::vector<std::int64_t> ends;
  for (std::int64_t i = 1; i < tables; ++i) {
    ends.push_back(c.vocab_size);
    c.vocab_size += s.dim(table(i), 0);
  }
  const bool softmax = s.has("crit.out_layers.0.bias");
  const std::int64_t clusters = s.has("crit.cluster_weight") ? s.dim("crit.cluster_weight", 0) : 0;
  if (tables > 1) {
    c.cutoffs = ends;
    c.div_val = std::max<std::int64_t>(1, c.embed_dim / std::max<std::int64_t>(1, s.dim(table(1), 1)));
  } else {
    const bool projected =
        s.has("word_emb.emb_projs.0") && c.embed_dim == c.dim;  // it would not be by div_val 1
    c.div_val = projected && clusters == 0 ? std::max<std::int64_t>(2, c.div_val) : 1;
    const bool told = s.told("cutoffs") && static_cast<std::int64_t>(c.cutoffs.size()) == clusters;
    if (softmax && clusters == 0) c.cutoffs.clear();
    if (clusters > 0) {
      require(told || (clusters == 3 && c.vocab_size == 267735), "transformer_xl",
              "{} clusters of {} tokens: the cutoffs must be told", clusters, c.vocab_size);
      s.assume("cutoffs", c.cutoffs, {20000, 40000, 200000}, told);  // WikiText-103
    }
  }
  if (!softmax)
    c.output = Config::Output::hidden;
  else if (!s.told("output"))
    c.output = Config::Output::log_probs;
  s.assume("tie_weight", c.tie_weight);
  s.assume("tie_projs", c.tie_projs);
  s.assume("pre_norm", c.pre_norm);
  s.assume("same_length", c.same_length, false);
  s.assume("mem_len", c.mem_len);
  s.assume("clamp_len", c.clamp_len);
  s.assume("norm_eps", c.norm_eps);
}

/// Lengths are those of the official evaluation: scripts run_*.sh, and transformers' config.json.
std::vector<Variant<TransformerXlConfig>> variants() {
  using Config = TransformerXlConfig;
  std::vector<Variant<Config>> out;
  const auto add = [&](const char* name, std::int64_t vocabulary, std::int64_t depth, std::int64_t dim,
                       std::int64_t heads, std::int64_t head_dim, std::int64_t ffn_dim, std::int64_t memory,
                       double clamp, double dropout, double dropatt, const char* note) -> Config& {
    Variant<Config>& v = out.emplace_back();
    v.name = name;
    v.note = note;
    Config& c = v.config;
    c.vocab_size = vocabulary;
    c.depth = depth;
    c.dim = c.embed_dim = dim;
    c.heads = heads;
    c.head_dim = head_dim;
    c.ffn_dim = ffn_dim;
    c.mem_len = memory;
    c.clamp_len = clamp;
    c.same_length = true;
    c.output = Config::Output::log_probs;
    c.dropout = dropout;
    c.dropatt = dropatt;
    return c;
  };
  const std::vector<std::int64_t> cutoffs = {20000, 40000, 200000};
  Config& large = add("transfo_xl_wt103", 267735, 18, 1024, 16, 64, 4096, 1600, 1000, 0.2, 0.2,
                      "Transformer-XL, Dai et al. 2019: large, on WikiText-103");
  large.cutoffs = cutoffs;
  large.div_val = 4;
  large.untie_r = true;
  large.first_memory = Config::FirstMemory::zeros;
  large.cluster_order = Config::ClusterOrder::rising;
  out.back().naming = "transformers";
  add("transformer_xl_wt103_base", 267735, 16, 410, 10, 41, 2100, 640, 400, 0.1, 0.0,
      "Transformer-XL: base, on WikiText-103")
      .cutoffs = cutoffs;
  add("transformer_xl_enwik8_base", 204, 12, 512, 8, 64, 2048, 2100, 820, 0.1, 0.0,
      "Transformer-XL: 12 layers on the bytes of enwik8");
  add("transformer_xl_enwik8_large", 204, 24, 1024, 8, 128, 3072, 3800, 1000, 0.15, 0.15,
      "Transformer-XL: 24 layers on the bytes of enwik8");
  add("transformer_xl_text8_base", 27, 12, 512, 8, 64, 2048, 2100, 820, 0.1, 0.0,
      "Transformer-XL: 12 layers on the letters of text8");
  add("transformer_xl_text8_large", 27, 24, 1024, 8, 128, 3072, 3800, 1000, 0.15, 0.15,
      "Transformer-XL: 24 layers on the letters of text8");
  return out;
}

std::vector<Renames> renames() {
  std::vector<Renames> out = same_names({"kimiyoung/transformer-xl", "transformers"});
  for (Renames& names : out) {
    // Of the softmax: copies of the embedding's, where they are tied.
    names.derived = {"pos_emb.inv_freq", "crit.out_layers.*.weight", "crit.out_projs.*"};
    names.optional = {"crit.out_layers.*.bias"};  // of files without the softmax
  }
  out[0].overrides = {{"", R"({"untie_r":false,"first_memory":"empty","cluster_order":"falling"})"}};
  out[1].overrides = {{"", R"({"first_memory":"zeros","cluster_order":"rising"})"}};
  out[1].prefix = "transformer.";
  return out;
}

std::vector<HubKeys> hub() {
  return {{.model_type = "transfo-xl",
           .keys = {{"vocab_size", "vocab_size"},
                    {"cutoffs", "cutoffs"},
                    {"d_model", "dim"},
                    {"d_embed", "embed_dim"},
                    {"n_head", "heads"},
                    {"d_head", "head_dim"},
                    {"d_inner", "ffn_dim"},
                    {"div_val", "div_val"},
                    {"pre_lnorm", "pre_norm"},
                    {"n_layer", "depth"},
                    {"mem_len", "mem_len"},
                    {"clamp_len", "clamp_len"},
                    {"same_length", "same_length"},
                    {"attn_type", "attn_type"},
                    {"ext_len", "ext_len"},
                    {"tie_weight", "tie_weight"},
                    {"proj_share_all_but_first", "tie_projs"},
                    {"layer_norm_epsilon", "norm_eps"},
                    {"dropout", "dropout"},
                    {"dropatt", "dropatt"}},
           .fixed = R"({"first_memory":"zeros","cluster_order":"rising"})",
           .defaults = R"({"same_length":true,"mem_len":1600,"clamp_len":1000})",
           .inert = {"adaptive", "init*", "proj_init_std", "untie_r", "sample_softmax", "tgt_len",
                     "tie_projs", "keys_to_ignore_at_inference"}}};
}

}  // namespace
}  // namespace transformer_xl_model

const Family kTransformerXlModel =
    family<transformer_xl_model::TransformerXlModel, transformer_xl_model::variants,
           transformer_xl_model::renames, transformer_xl_model::from_shapes, transformer_xl_model::hub>(
        "transformer_xl");

}  // namespace locant
