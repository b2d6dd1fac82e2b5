#pragma once

// Transformer-XL's relative attention. Dai et al. 2019, section 3.3, four terms:
//
//   s_ij = (q_i.k_j + q_i.r_t + u.k_j + v.r_t) / sqrt(D) = ((q_i + u).k_j + (q_i + v).r_t) / sqrt(D)
//   distance(i, j) = i + past - j >= 0,   r_t = W_R sinusoid(distance),   t = klen - 1 - distance
//
// Enters: score, inside its scale. `past` keys (memory) come before the first query, klen = past + queries. R
// has klen rows for the distances klen-1 down to 0, sines in the first half and cosines in the second;
// clamp_len gives all far keys one row. Parameters: u "r_w_bias" (H, D), v "r_r_bias" (H, D), W_R
// "r_net.weight" (H D, C); or, learned (attn_type 1), the rows themselves, "r_emb" (rows, H, D) with a number
// "r_bias" (rows, H) in place of v.r, where keys further away than the table is long share its first row. All
// start at N(0, 0.02), r_bias at 0. Gradient: by the kernel (rows, dq), rest by tape; the rows' sum is zero.
// Cost: one more product a pair, made per tile, klen C^2 for W_R R, which all samples share. Nothing of size
// queries x keys exists, so there is no shift of such a matrix (the paper's appendix B).
// Models: Transformer-XL; XLNet and the Conformers in their own way (position/conformer.h).

#include <cmath>
#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

/// Row of `rows` for a distance; -1 where the key comes after the query, which sees none. More distances than
/// rows share the first.
constexpr std::int64_t transformer_xl_row(std::int64_t rows, std::int64_t distance) {
  return distance < 0 ? -1 : rows - 1 - (distance < rows ? distance : rows - 1);
}

/// The distance that row t of klen stands for, far ones merged (clamp_len 0: none).
constexpr std::int64_t transformer_xl_position(std::int64_t klen, std::int64_t t, std::int64_t clamp_len) {
  const std::int64_t distance = klen - 1 - t;
  return clamp_len > 0 && distance > clamp_len ? clamp_len : distance;
}

/// The table of sinusoids (klen, width) before W_R. Throws Error when the width is odd.
Tensor transformer_xl_sinusoids(std::int64_t klen, std::int64_t width, std::int64_t clamp_len = 0);

// ---- parameters

struct TransformerXl {
  static constexpr const char* kU = "r_w_bias";
  static constexpr const char* kV = "r_r_bias";
  static constexpr const char* kProjection = "r_net.weight";
  static constexpr const char* kRows = "r_emb";
  static constexpr const char* kRowBias = "r_bias";
  Var u = {};         ///< (H, D)
  Var v = {};         ///< (H, D); undefined: row_bias is
  Var rows = {};      ///< (rows, H, D): W_R R, or the learned rows
  Var row_bias = {};  ///< (rows, H), of learned rows
};

// ---- lowering

/// Row transformer_xl_row(rows, distance) for every pair. Throws Error on lengths below 1 or negative `past`.
std::shared_ptr<const OffsetMap> transformer_xl_gather(std::int64_t rows, std::int64_t queries,
                                                       std::int64_t past);

/// What the queries may see: themselves and what came before; with same_length the last `mem_len` of these
/// only (TensorFlow's code sees one more), once there are so many keys. Throws Error when that leaves
/// nothing.
AttentionVisibility transformer_xl_visibility(std::int64_t queries, std::int64_t past,
                                              bool same_length = false, std::int64_t mem_len = 0);

/// Adds the terms to `options`, and gives the queries q + u (B, Nq, H D) for the call: with q' = q + u,
/// s = (q'.k + q'.r) / sqrt(D) + b, b = (v - u).r / sqrt(D) a number per head and row (r_bias - u.r where
/// rows are learned): a band and a gather term over one map. Throws Error that names what has another shape.
Var add_transformer_xl(const Context& ctx, const TransformerXl& xl, const Var& q,
                       const std::shared_ptr<const OffsetMap>& gather, AttentionOptions& options);

// ---- the equation, as it stands

/// s_ij; bias is v.r_t, or the learned row's number.
template <class T>
T transformer_xl_score(const T* q, const T* k, const T* u, const T* r, T bias, std::int64_t D) {
  T s = bias;
  for (std::int64_t d = 0; d < D; ++d) s += q[d] * k[d] + q[d] * r[d] + u[d] * k[d];
  return s / std::sqrt(static_cast<double>(D));
}

}  // namespace locant
