#include "nn/conformer_attention.h"

#include <utility>

#include "core/error.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/rope.h"

namespace locant {

namespace {

using ConformerEncoding = ConformerOptions::Position;

Linear projection(const Weights& w, std::int64_t in, std::int64_t out, bool bias = true) {
  return Linear(w, in, out, {.bias = bias, .weight_init = Init::xavier_uniform(in, out)});
}

AttentionOptions options_of(const ConformerOptions& options, const ConformerCall& call) {
  AttentionOptions out;
  out.heads = options.heads;
  out.dropout = options.dropout;
  out.key_lengths = call.key_lengths;
  out.visibility = call.visibility;
  return out;
}

}  // namespace

ConformerCall conformer_call(const ConformerOptions& options, std::int64_t N) {
  ConformerCall out;
  if (options.position == ConformerEncoding::transformer_xl)
    out.positions =
        Var(conformer_sinusoids(N, options.width).reshaped({1, conformer_rows(N), options.width}));
  if (options.position == ConformerEncoding::rotary_hidden)
    out.rotary = rope_table(N, options.width / options.heads, 0, options.rotary_base);
  return out;
}

// ---- distances

ConformerRelativeAttention::ConformerRelativeAttention(const Weights& w, const ConformerOptions& options)
    : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("conformer", H, C);
  query_ = projection(w / "query_proj" / "linear", C, C);
  key_ = projection(w / "key_proj" / "linear", C, C);
  value_ = projection(w / "value_proj" / "linear", C, C);
  positions_ = projection(w / "pos_proj" / "linear", C, C, false);
  const Init start = Init::xavier_uniform(H, C / H);
  u_ = w.get("u_bias", {H, C / H}, start, {.decay = false});
  v_ = w.get("v_bias", {H, C / H}, start, {.decay = false});
  out_ = projection(w / "out_proj" / "linear", C, C);
}

void ConformerRelativeAttention::show(const Context& ctx, const char* name, const Var& value) const {
  ctx.show([&] { return join_path(path_, name); }, value);
}

Var ConformerRelativeAttention::attend(const Context& ctx, const Var& q, const Var& k, const Var& v,
                                       const Var& rows, const ConformerCall& call) const {
  AttentionOptions options = options_of(options_, call);
  const std::int64_t N = q.dim(1), H = options_.heads;
  const Var table = reshape(ctx, rows, {conformer_rows(N), H, options_.width / H});
  const Var query = add_conformer(ctx, u_, v_, table, q, N, options);
  return attention(ctx, query, k, v, options);
}

Var ConformerRelativeAttention::operator()(const Context& ctx, const Var& x,
                                           const ConformerCall& call) const {
  const std::int64_t B = x.dim(0), N = x.dim(1), C = options_.width;
  const Shape& shape = call.positions.shape();
  if (shape.rank() != 3 || (shape[0] != 1 && shape[0] != B) || shape[1] != conformer_rows(N) || shape[2] != C)
    fail("conformer", "positions of shape {} for x of shape {}; they must be (1 or {}, {}, {})", shape.str(),
         x.shape().str(), B, conformer_rows(N), C);
  require(call.key_lengths.empty() || static_cast<std::int64_t>(call.key_lengths.size()) == B, "conformer",
          "{} key lengths for a batch of {}", call.key_lengths.size(), B);
  const Var q = query_(ctx, x), k = key_(ctx, x), v = value_(ctx, x), rows = positions_(ctx, call.positions);
  show(ctx, "query_proj", q);
  // The reference repeats the table over the batch.
  if (ctx.probe != nullptr)
    show(ctx, "pos_proj",
         shape[0] == B ? rows : concat_axis(ctx, std::vector<Var>(static_cast<std::size_t>(B), rows), 0));
  Var context;
  if (shape[0] == 1) {
    context = attend(ctx, q, k, v, rows, call);
  } else {
    require(call.visibility.dense == nullptr, "conformer", "a table for each sample, beside a mask of pairs");
    std::vector<Var> samples;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto sample = [&](const Var& all) { return slice_axis(ctx, all, 0, b, b + 1); };
      ConformerCall alone;
      if (!call.key_lengths.empty())
        alone.key_lengths.push_back(call.key_lengths[static_cast<std::size_t>(b)]);
      samples.push_back(attend(ctx, sample(q), sample(k), sample(v), sample(rows), alone));
    }
    context = concat_axis(ctx, samples, 0);
  }
  const Var out = out_(ctx, context);
  show(ctx, "out_proj", out);
  return out;
}

// ---- no positions

ConformerPlainAttention::ConformerPlainAttention(const Weights& w, const ConformerOptions& options)
    : options_(options) {
  const std::int64_t C = options.width;
  require_heads("conformer", options.heads, C);
  in_ = projection(w / "in_proj", C, 3 * C);
  out_ = projection(w / "out_proj" / "linear", C, C);
}

Var ConformerPlainAttention::operator()(const Context& ctx, const Var& x, const ConformerCall& call) const {
  return out_(ctx, attention(ctx, in_(ctx, x), options_of(options_, call)));
}

// ---- each projection by itself

ConformerSplitAttention::ConformerSplitAttention(const Weights& w, const ConformerOptions& options)
    : options_(options) {
  const std::int64_t C = options.width;
  require_heads("conformer", options.heads, C);
  query_ = projection(w / "query_proj" / "linear", C, C);
  key_ = projection(w / "key_proj" / "linear", C, C);
  value_ = projection(w / "value_proj" / "linear", C, C);
  out_ = projection(w / "out_proj" / "linear", C, C);
}

Var ConformerSplitAttention::operator()(const Context& ctx, const Var& x, const ConformerCall& call) const {
  const bool turns = options_.position == ConformerEncoding::rotary_hidden;
  const Var turned = turns ? rotate(ctx, x, options_.heads, call.rotary, Pairing::halves) : x;
  return out_(ctx, attention(ctx, query_(ctx, turned), key_(ctx, turned), value_(ctx, x),
                             options_of(options_, call)));
}

// ---- the module

ConformerAttentionModule::ConformerAttentionModule(const Weights& w, const ConformerOptions& options)
    : options_(options), path_(w.path()), norm_(w / "layer_norm", options.width, options.norm_eps) {
  const Weights a = w / "attention";
  if (options.position == ConformerEncoding::transformer_xl)
    relative_ = ConformerRelativeAttention(a, options);
  else if (plain())
    plain_ = ConformerPlainAttention(a, options);
  else
    split_ = ConformerSplitAttention(a, options);
}

Var ConformerAttentionModule::operator()(const Context& ctx, const Var& x, const ConformerCall& call) const {
  const Var normed = norm_(ctx, x);
  ctx.show([&] { return join_path(path_, "layer_norm"); }, normed);
  const Var out = options_.position == ConformerEncoding::transformer_xl ? relative_(ctx, normed, call)
                  : plain()                                              ? plain_(ctx, normed, call)
                                                                         : split_(ctx, normed, call);
  ctx.show([&] { return join_path(path_, "attention"); }, out);
  return dropout(ctx, out, options_.dropout);
}

}  // namespace locant
