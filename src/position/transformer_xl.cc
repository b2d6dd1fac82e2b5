#include "position/transformer_xl.h"

#include <vector>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "position/shared/sequence.h"
#include "position/sinusoidal_1d.h"

namespace locant {

namespace {
constexpr const char* kTransformerXlName = "transformer_xl";
}

Tensor transformer_xl_sinusoids(std::int64_t klen, std::int64_t width, std::int64_t clamp_len) {
  check_sequence(kTransformerXlName, klen, klen, 0);
  require(width >= 2 && width % 2 == 0, kTransformerXlName,
          "sinusoids of width {}; sine and cosine halves need it even", width);
  require(clamp_len >= 0, kTransformerXlName,
          "distances clamped at {}; clamp_len must be 0 (not at all) or more", clamp_len);
  std::vector<double> positions;
  for (std::int64_t t = 0; t < klen; ++t)
    positions.push_back(static_cast<double>(transformer_xl_position(klen, t, clamp_len)));
  return sinusoidal_1d(SinusoidLayout::halves, positions, width).reshaped({klen, width});
}

std::shared_ptr<const OffsetMap> transformer_xl_gather(std::int64_t rows, std::int64_t queries,
                                                       std::int64_t past) {
  require(rows >= 1, kTransformerXlName, "{} rows of positions; there must be one at least", rows);
  return sequence_gather(kTransformerXlName, queries, past + queries, past,
                         [&](std::int64_t distance) { return transformer_xl_row(rows, distance); });
}

AttentionVisibility transformer_xl_visibility(std::int64_t queries, std::int64_t past, bool same_length,
                                              std::int64_t mem_len) {
  check_sequence(kTransformerXlName, queries, past + queries, past);
  AttentionVisibility out;
  out.causal = true;
  out.causal_offset = past;
  if (!same_length) return out;
  require(mem_len >= 1, kTransformerXlName, "same_length with a memory of {}: the queries would see nothing",
          mem_len);
  if (past + queries > mem_len) out.causal_span = mem_len;
  return out;
}

Var add_transformer_xl(const Context& ctx, const TransformerXl& xl, const Var& q,
                       const std::shared_ptr<const OffsetMap>& gather, AttentionOptions& options) {
  const std::int64_t H = options.heads;
  const std::int64_t D = head_width(kTransformerXlName, q, H);
  const std::int64_t R = xl.rows.defined() && xl.rows.shape().rank() == 3 ? xl.rows.dim(0) : 1;
  check_table(kTransformerXlName, TransformerXl::kU, xl.u, {H, D});
  check_table(kTransformerXlName, "the table of rows", xl.rows, {R, H, D});
  require(xl.v.defined() != xl.row_bias.defined(), kTransformerXlName, "either {} or {} is needed",
          TransformerXl::kV, TransformerXl::kRowBias);
  const float scale = attention_scale(options.scale, D);
  const auto dots = [&](const Var& vectors, float factor) {  // (R, H)
    const Var rows = reshape(ctx, xl.rows, {1, R, H * D});
    return reshape(ctx, head_products(ctx, rows, H, reshape(ctx, vectors, {H, 1, D}), factor), {R, H});
  };
  Var bias;
  if (xl.v.defined()) {
    check_table(kTransformerXlName, TransformerXl::kV, xl.v, {H, D});
    bias = dots(add(ctx, xl.v, affine(ctx, xl.u, -1.0f)), scale);
  } else {
    check_table(kTransformerXlName, TransformerXl::kRowBias, xl.row_bias, {R, H});
    bias = add(ctx, affine(ctx, xl.row_bias, scale), dots(xl.u, -scale));
  }
  options.terms.push_back(band_term(Side::query, permute(ctx, xl.rows, {1, 0, 2}), gather));
  options.terms.push_back(gather_term(bias, gather));
  return add(ctx, q, reshape(ctx, xl.u, {H * D}));
}

}  // namespace locant
