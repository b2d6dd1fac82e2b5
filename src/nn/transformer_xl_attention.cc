#include "nn/transformer_xl_attention.h"

#include "core/error.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/rearrange.h"

namespace locant {

namespace {
constexpr const char* kTransformerXlAttentionName = "transformer_xl_attention";
}

TransformerXl TransformerXlAttention::biases_of(const Weights& w, const Options& options) {
  const std::int64_t H = options.heads, D = options.head_width, R = options.table_rows;
  require(options.width >= 1 && H >= 1 && D >= 1 && R >= 0, kTransformerXlAttentionName,
          "width {}, {} heads of width {}, {} learned rows", options.width, H, D, R);
  const Init normal = Init::normal(0.02f);
  TransformerXl out;
  out.u = w.get(TransformerXl::kU, {H, D}, normal, {.decay = false});
  if (R > 0) {
    out.rows = w.get(TransformerXl::kRows, {R, H, D}, normal, {.decay = false});
    out.row_bias = w.get(TransformerXl::kRowBias, {R, H}, Init::zeros(), {.decay = false});
  } else {
    out.v = w.get(TransformerXl::kV, {H, D}, normal, {.decay = false});
  }
  return out;
}

TransformerXlAttention::TransformerXlAttention(const Weights& w, const TransformerXl& biases,
                                               const Options& options)
    : options_(options), path_(w.path()), xl_(biases) {
  const std::int64_t C = options.width, H = options.heads, D = options.head_width;
  const Linear::Options plain{.bias = false, .weight_init = Init::normal(0.02f)};
  if (options.table_rows == 0) r_ = Linear(w / "r_net", C, H * D, plain);
  qkv_ = Linear(w / "qkv_net", C, 3 * H * D, plain);
  out_ = Linear(w / "o_net", H * D, C, plain);
  norm_ = LayerNorm(w / "layer_norm", C, options.norm_eps);
}

void TransformerXlAttention::show(const Context& ctx, const char* name, const Var& value) const {
  ctx.show([&] { return join_path(path_, name); }, value);
}

TransformerXl TransformerXlAttention::relative(const Context& ctx, std::int64_t klen,
                                               const Var& positions) const {
  if (options_.table_rows > 0) return xl_;
  const std::int64_t H = options_.heads, D = options_.head_width;
  const Var table = positions.defined() ? positions : Var(transformer_xl_sinusoids(klen, options_.width));
  if (table.shape() != Shape{klen, options_.width})
    fail(kTransformerXlAttentionName, "positions of shape {}; {} keys need ({}, {})", table.shape().str(),
         klen, klen, options_.width);
  TransformerXl out = xl_;
  const Var rows = r_(ctx, reshape(ctx, table, {klen, 1, options_.width}));
  show(ctx, "r_net", rows);
  out.rows = reshape(ctx, rows, {klen, H, D});
  return out;
}

Var TransformerXlAttention::operator()(const Context& ctx, const Var& x, const Var& memory,
                                       const Var& positions) const {
  const Shape& shape = x.shape();
  require(shape.rank() == 3 && shape[2] == options_.width && shape[0] >= 1, kTransformerXlAttentionName,
          "x of shape {}; it must be (length, batch, {})", shape.str(), options_.width);
  if (memory.defined() &&
      (memory.shape().rank() != 3 || memory.dim(1) != shape[1] || memory.dim(2) != shape[2]))
    fail(kTransformerXlAttentionName, "memory of shape {} before x of shape {}", memory.shape().str(),
         shape.str());
  const std::int64_t L = shape[0], past = memory.defined() ? memory.dim(0) : 0, klen = past + L;
  const std::int64_t H = options_.heads, D = options_.head_width;

  Var all = past > 0 ? concat_axis(ctx, {memory, x}, 0) : x;
  if (options_.pre_norm) all = norm_(ctx, all);
  const Var qkv = qkv_(ctx, all);
  show(ctx, "qkv_net", qkv);
  // (length, B, 3 H D) -> three of (B, length, H D); queries are of the new positions only.
  const Var batch_first = permute(ctx, qkv, {1, 0, 2});
  const auto third = [&](std::int64_t part) {
    return slice_axis(ctx, batch_first, 2, part * H * D, (part + 1) * H * D);
  };
  const Var q = past > 0 ? slice_axis(ctx, third(0), 1, past, klen) : third(0);

  AttentionOptions options;
  options.heads = H;
  options.dropout = options_.attention_dropout;
  options.visibility = transformer_xl_visibility(L, past, options_.same_length, options_.mem_len);
  const TransformerXl xl = relative(ctx, klen, positions);
  const auto gather = transformer_xl_gather(xl.rows.dim(0), L, past);
  const Var query = add_transformer_xl(ctx, xl, q, gather, options);
  const Var context = attention(ctx, query, third(1), third(2), options);
  Var out = out_(ctx, permute(ctx, context, {1, 0, 2}));
  show(ctx, "o_net", out);
  out = dropout(ctx, out, options_.dropout);
  if (options_.residual) out = add(ctx, x, out);
  return options_.pre_norm ? out : norm_(ctx, out);
}

}  // namespace locant
