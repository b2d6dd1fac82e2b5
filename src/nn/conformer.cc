#include "nn/conformer.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

Linear::Options xavier(std::int64_t in, std::int64_t out, bool bias = true) {
  return {.bias = bias, .weight_init = Init::xavier_uniform(in, out)};
}

// A pointwise convolution, as a product over channels that lie last.
Linear pointwise(const Weights& w, std::int64_t in, std::int64_t out) {
  return Linear(
      w / "conv", in, out,
      {.weight_init = Init::fan_in(in), .bias_init = Init::fan_in(in), .weight_shape = {out, in, 1}});
}

}  // namespace

ConformerRelativeAttention::ConformerRelativeAttention(const Weights& w, const ConformerOptions& options)
    : options_(options), path_(w.path()) {
  const std::int64_t C = options.width, H = options.heads;
  require_heads("conformer", H, C);
  query_ = Linear(w / "query_proj" / "linear", C, C, xavier(C, C));
  key_ = Linear(w / "key_proj" / "linear", C, C, xavier(C, C));
  value_ = Linear(w / "value_proj" / "linear", C, C, xavier(C, C));
  positions_ = Linear(w / "pos_proj" / "linear", C, C, xavier(C, C, false));
  const Init start = xavier(H, C / H).weight_init;
  u_ = w.get("u_bias", {H, C / H}, start, {.decay = false});
  v_ = w.get("v_bias", {H, C / H}, start, {.decay = false});
  out_ = Linear(w / "out_proj" / "linear", C, C, xavier(C, C));
}

void ConformerRelativeAttention::show(const Context& ctx, const char* name, const Var& value) const {
  ctx.show([&] { return join_path(path_, name); }, value);
}

Var ConformerRelativeAttention::attend(const Context& ctx, const Var& q, const Var& k, const Var& v,
                                       const Var& rows, const std::vector<std::int64_t>& key_lengths) const {
  AttentionOptions options;
  options.heads = options_.heads;
  options.dropout = options_.dropout;
  options.key_lengths = key_lengths;
  const std::int64_t N = q.dim(1), H = options_.heads;
  const Var table = reshape(ctx, rows, {conformer_rows(N), H, options_.width / H});
  const Var query = add_conformer(ctx, u_, v_, table, q, N, options);
  return attention(ctx, query, k, v, options);
}

Var ConformerRelativeAttention::operator()(const Context& ctx, const Var& x, const Var& positions,
                                           const std::vector<std::int64_t>& key_lengths) const {
  const std::int64_t B = x.dim(0), N = x.dim(1), C = options_.width;
  const Shape& shape = positions.shape();
  if (shape.rank() != 3 || (shape[0] != 1 && shape[0] != B) || shape[1] != conformer_rows(N) || shape[2] != C)
    fail("conformer", "positions of shape {} for x of shape {}; they must be (1 or {}, {}, {})", shape.str(),
         x.shape().str(), B, conformer_rows(N), C);
  require(key_lengths.empty() || static_cast<std::int64_t>(key_lengths.size()) == B, "conformer",
          "{} key lengths for a batch of {}", key_lengths.size(), B);
  const Var q = query_(ctx, x), k = key_(ctx, x), v = value_(ctx, x), rows = positions_(ctx, positions);
  show(ctx, "query_proj", q);
  // The reference repeats the table over the batch.
  if (ctx.probe != nullptr)
    show(ctx, "pos_proj",
         shape[0] == B ? rows : concat_axis(ctx, std::vector<Var>(static_cast<std::size_t>(B), rows), 0));
  Var context;
  if (shape[0] == 1) {
    context = attend(ctx, q, k, v, rows, key_lengths);
  } else {
    std::vector<Var> samples;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto sample = [&](const Var& all) { return slice_axis(ctx, all, 0, b, b + 1); };
      std::vector<std::int64_t> length;
      if (!key_lengths.empty()) length.push_back(key_lengths[static_cast<std::size_t>(b)]);
      samples.push_back(attend(ctx, sample(q), sample(k), sample(v), sample(rows), length));
    }
    context = concat_axis(ctx, samples, 0);
  }
  const Var out = out_(ctx, context);
  show(ctx, "out_proj", out);
  return out;
}

ConformerAttentionModule::ConformerAttentionModule(const Weights& w, const ConformerOptions& options)
    : options_(options),
      path_(w.path()),
      norm_(w / "layer_norm", options.width, options.norm_eps),
      attention_(w / "attention", options) {}

Var ConformerAttentionModule::operator()(const Context& ctx, const Var& x,
                                         const std::vector<std::int64_t>& key_lengths) const {
  const Var normed = norm_(ctx, x);
  ctx.show([&] { return join_path(path_, "layer_norm"); }, normed);
  const Tensor sinusoids = conformer_sinusoids(x.dim(1), options_.width);
  const Var positions(sinusoids.reshaped({1, conformer_rows(x.dim(1)), options_.width}));
  const Var out = attention_(ctx, normed, positions, key_lengths);
  ctx.show([&] { return join_path(path_, "attention"); }, out);
  return dropout(ctx, out, options_.dropout);
}

ConformerConvModule::ConformerConvModule(const Weights& w, const ConformerOptions& options)
    : dropout_(options.dropout) {
  const std::int64_t C = options.width, kernel = options.kernel;
  require(kernel >= 1 && kernel % 2 == 1, "conformer", "a depthwise kernel of {}; it must be odd", kernel);
  const Weights s = w / "sequential";
  norm_ = LayerNorm(s / 0, C, options.norm_eps);
  expand_ = pointwise(s / 2, C, 2 * C);
  depthwise_ = Conv1d(s / 4 / "conv", C, C, kernel, Conv1dOptions::same(kernel, C), false);
  batch_norm_ = BatchNorm(s / 5, C, {.eps = options.bn_eps});
  project_ = pointwise(s / 7, C, C);
}

Var ConformerConvModule::operator()(const Context& ctx, const Var& x) const {
  const Var gated = glu(ctx, expand_(ctx, norm_(ctx, x)));
  const Var conv = silu(ctx, batch_norm_(ctx, depthwise_(ctx, permute(ctx, gated, {0, 2, 1}))));
  return dropout(ctx, project_(ctx, permute(ctx, conv, {0, 2, 1})), dropout_);
}

ConformerFeedForward::ConformerFeedForward(const Weights& w, const ConformerOptions& options)
    : dropout_(options.dropout) {
  const std::int64_t C = options.width, hidden = C * options.ffn_ratio;
  require(options.ffn_ratio >= 1, "conformer", "a hidden width of {} times the width", options.ffn_ratio);
  const Weights s = w / "sequential";
  norm_ = LayerNorm(s / 0, C, options.norm_eps);
  expand_ = Linear(s / 1 / "linear", C, hidden, xavier(C, hidden));
  project_ = Linear(s / 4 / "linear", hidden, C, xavier(hidden, C));
}

Var ConformerFeedForward::operator()(const Context& ctx, const Var& x) const {
  const Var hidden = dropout(ctx, silu(ctx, expand_(ctx, norm_(ctx, x))), dropout_);
  return dropout(ctx, project_(ctx, hidden), dropout_);
}

ConformerBlock::ConformerBlock(const Weights& w, const ConformerOptions& options)
    : options_(options),
      path_(w.path()),
      first_(w / "sequential" / 0 / "module", options),
      second_(w / "sequential" / 3 / "module", options),
      attention_(w / "sequential" / 1 / "module", options),
      conv_(w / "sequential" / 2 / "module", options),
      norm_(w / "sequential" / 4, options.width, options.norm_eps) {}

Var ConformerBlock::operator()(const Context& ctx, const Var& x,
                               const std::vector<std::int64_t>& key_lengths) const {
  const float step = options_.half_step ? 0.5f : 1.0f;
  const auto shown = [&](const char* name, const Var& value) {
    ctx.show([&] { return join_path(path_, name); }, value);
    return value;
  };
  Var y = shown("sequential.0", add(ctx, affine(ctx, first_(ctx, x), step), x));
  y = shown("sequential.1", add(ctx, attention_(ctx, y, key_lengths), y));
  y = shown("sequential.2", add(ctx, conv_(ctx, y), y));
  y = shown("sequential.3", add(ctx, affine(ctx, second_(ctx, y), step), y));
  return norm_(ctx, y);
}

}  // namespace locant
