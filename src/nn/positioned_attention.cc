#include "nn/positioned_attention.h"

#include <cmath>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/alibi.h"
#include "position/conformer.h"

namespace locant {

namespace {

constexpr const char* kPositionedAttentionName = "positioned_attention";

Init over_root(std::int64_t D) {
  return Init::normal(static_cast<float>(1.0 / std::sqrt(static_cast<double>(D))));
}

Huang2020Method huang_method(AttentionPosition position) {
  return position == AttentionPosition::relative_key ? Huang2020Method::relative_key
                                                     : Huang2020Method::relative_key_query;
}

}  // namespace

PositionedAttention::PositionedAttention(const Weights& w, const Options& options) : options_(options) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads(kPositionedAttentionName, H, C);
  const std::int64_t D = C / H;
  in_ = JointProjection(w, C, JointProjection::Of::one);
  switch (options.position) {
    case AttentionPosition::none:
    case AttentionPosition::alibi:
      break;
    case AttentionPosition::rope:
      require(D % 2 == 0, kPositionedAttentionName, "heads of width {}; rope turns pairs", D);
      break;
    case AttentionPosition::kerple:
    case AttentionPosition::kerple_power:
      kerple_.form =
          options.position == AttentionPosition::kerple ? KerpleForm::logarithmic : KerpleForm::power;
      kerple_.causal = options.causal;
      kerple_.p = w.get(Kerple::kP, {H, 1, 1}, Init::ones(), {.decay = false});
      kerple_.a = w.get(Kerple::kA, {H, 1, 1}, Init::ones(), {.decay = false});
      break;
    case AttentionPosition::t5_bucket:
      t5_.buckets = options.t5;
      t5_.buckets.bidirectional = !options.causal;
      t5_.table = w.get(T5Bucket::kTable, {options.t5.count, H}, over_root(C), {.decay = false});
      break;
    case AttentionPosition::shaw: {
      shaw_.K = options.clip;
      require(shaw_.K >= 0, kPositionedAttentionName, "distances clipped at {}; at least 0", shaw_.K);
      const Init start{Init::Kind::uniform, static_cast<float>(shaw_init_bound(shaw_.K, D))};
      shaw_.keys = w.get(Shaw::kKeys, {shaw_rows(shaw_.K), D}, start, {.decay = false});
      shaw_.values = w.get(Shaw::kValues, {shaw_rows(shaw_.K), D}, start, {.decay = false});
      break;
    }
    case AttentionPosition::transformer_xl:
      require(options.causal, kPositionedAttentionName,
              "transformer_xl has no rows for keys after the query: causal must be true");
      make_conformer(w);
      break;
    case AttentionPosition::conformer:
      make_conformer(w);
      break;
    case AttentionPosition::music_transformer:
      require(options.longest >= 1, kPositionedAttentionName,
              "a table of {} rows; there must be one at least", options.longest);
      // tensor2tensor's start; the PyTorch port's is uniform in [0, 1), as wide but not around zero.
      music_.table = w.get(MusicTransformer::kTable, {options.longest, D}, over_root(D), {.decay = false});
      break;
    case AttentionPosition::relative_key:
    case AttentionPosition::relative_key_query:
      huang_.method = huang_method(options.position);
      huang_.n = options.longest;
      require(huang_.n >= 1, kPositionedAttentionName, "sequences of {} tokens at most; at least 1",
              huang_.n);
      huang_.table = w.get(Huang2020::kTable, {huang2020_rows(huang_.method, huang_.n), D},
                           Init::normal(0.02f), {.decay = false});
      break;
    case AttentionPosition::deberta:
      make_deberta(w);
      break;
  }
  out_ = Linear(w / "out_proj", C, C, {.weight_init = Init::fan_in(C)});
}

void PositionedAttention::make_conformer(const Weights& w) {
  const std::int64_t C = options_.width, H = options_.heads;
  require(C % 2 == 0, kPositionedAttentionName, "a width of {}; sinusoids come in pairs", C);
  const Init start = Init::xavier_uniform(H, C / H);
  xl_.u = w.get(ConformerPosition::kU, {H, C / H}, start, {.decay = false});
  xl_.v = w.get(ConformerPosition::kV, {H, C / H}, start, {.decay = false});
  positions_ = Linear(w / "linear_pos", C, C, {.bias = false, .weight_init = Init::xavier_uniform(C, C)});
}

void PositionedAttention::make_deberta(const Weights& w) {
  const std::int64_t C = options_.width, S = options_.deberta.S;
  require(S >= 1, kPositionedAttentionName, "a table of 2 x {} rows; at least 2 x 1", S);
  rel_embeddings_ = w.get(Deberta::kTable, {2 * S, C}, Init::normal(0.02f), {.decay = false});
  pos_key_ = Linear(w / "pos_proj", C, C, {.bias = false, .weight_init = Init::normal(0.02f)});
  pos_query_ = Linear(w / "pos_q_proj", C, C, {.weight_init = Init::normal(0.02f)});
}

bool PositionedAttention::add_terms(const Context& ctx, std::int64_t N, AttentionOptions& options) const {
  const std::int64_t D = options_.width / options_.heads;
  switch (options_.position) {
    case AttentionPosition::none:
      break;
    case AttentionPosition::alibi:
      add_alibi(ctx, {.slopes = Var(alibi_slopes(options_.heads)), .causal = options_.causal}, N, N, 0,
                options);
      break;
    case AttentionPosition::kerple:
    case AttentionPosition::kerple_power:
      add_kerple(ctx, kerple_, N, N, 0, options);
      break;
    case AttentionPosition::t5_bucket:
      add_t5_bucket(t5_, N, N, 0, options);
      break;
    case AttentionPosition::music_transformer:
      require(N <= options_.longest, kPositionedAttentionName, "{} positions, but Er has {} rows", N,
              options_.longest);
      add_music_transformer(music_, D, N, N, options, options_.causal);
      break;
    case AttentionPosition::relative_key:
    case AttentionPosition::relative_key_query:
      add_huang2020(huang_, D, N, N, options);
      break;
    default:
      return false;
  }
  return true;
}

void PositionedAttention::place(const Context& ctx, std::int64_t N, Var& q, Var& k,
                                AttentionOptions& options) const {
  const std::int64_t C = options_.width, H = options_.heads, D = C / H;
  if (options_.position == AttentionPosition::rope) {
    const RotaryTable table = rope_table(N, D);
    q = rotate(ctx, q, H, table, Pairing::halves);
    k = rotate(ctx, k, H, table, Pairing::halves);
  } else if (options_.position == AttentionPosition::shaw) {
    add_shaw(ctx, shaw_, q, N, D, options);
  } else if (options_.position == AttentionPosition::transformer_xl) {
    TransformerXl xl = xl_;
    xl.rows =
        reshape(ctx, positions_(ctx, Var(transformer_xl_sinusoids(N, C).reshaped({1, N, C}))), {N, H, D});
    q = add_transformer_xl(ctx, xl, q, transformer_xl_gather(N, N, 0), options);
  } else if (options_.position == AttentionPosition::conformer) {
    const std::int64_t R = conformer_rows(N);
    const Var rows = positions_(ctx, Var(conformer_sinusoids(N, C).reshaped({1, R, C})));
    q = add_conformer(ctx, xl_.u, xl_.v, reshape(ctx, rows, {R, H, D}), q, N, options);
  } else {
    const Var table = reshape(ctx, rel_embeddings_, {1, rel_embeddings_.dim(0), C});
    const auto rows = [&](const Linear& projection) {
      return reshape(ctx, projection(ctx, table), {rel_embeddings_.dim(0), C});
    };
    Deberta deberta;
    deberta.buckets = options_.deberta;
    deberta.keys = rows(pos_key_);
    deberta.queries = rows(pos_query_);
    add_deberta(ctx, deberta, q, k, options);
  }
}

Var PositionedAttention::operator()(const Context& ctx, const Var& x,
                                    const std::vector<std::int64_t>& key_lengths, const Var& skip) const {
  const std::int64_t N = x.dim(1), C = options_.width;
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  options.key_lengths = key_lengths;
  options.visibility.causal = options_.causal;
  const Var qkv = in_(ctx, x);
  if (add_terms(ctx, N, options)) return out_(ctx, attention(ctx, qkv, options), Activation::none, skip);
  const auto third = [&](std::int64_t t) { return slice_axis(ctx, qkv, 2, t * C, (t + 1) * C); };
  Var q = third(0), k = third(1);
  const Var v = third(2);
  place(ctx, N, q, k, options);
  return out_(ctx, attention(ctx, q, k, v, options), Activation::none, skip);
}

}  // namespace locant
