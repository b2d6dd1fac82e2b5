#pragma once

// Decomposed relative position. Li et al. 2022, "MViTv2"; ViTDet; "Segment Anything":
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + q_i.Rh[I(r_i, r_j)] + q_i.Rw[I(c_i, c_j)]  (+ q_i.Rt[I(t_i, t_j)])
//   I(a, b) = trunc(a max(K/Q, 1) - b max(Q/K, 1) + (K - 1) max(Q/K, 1))         query minus key
//
// for an axis of Q query and K key places. Enters: score; q is NOT scaled in the position terms. i, j: tokens
// of a grid or of a window; special tokens in front get nothing and give nothing. Parameters: rel_pos_h (2
// max(Q, K) - 1, D), rel_pos_w, and rel_pos_t for video, one set a block, shared by its heads; all zeros at
// the start in SAM and ViTDet, normal of 0.02 in MViTv2. A table of another length is resized linearly along
// its length first (detectron2, SAM, timm, Hugging Face; the MViT repository wants the exact one). Gradient:
// of the numbers per place by the kernel, the rest by axis_products and the resize. Cost: N (h + w) D
// multiply-adds a head and two additions a score; the numbers are H N (h + w) floats, N^1.5 on a square grid.
// Models: SAM, ViTDet, MViTv2.

#include <algorithm>
#include <cstdint>

#include "position/shared/axis.h"

namespace locant {

// ---- index arithmetic

/// Rows of the table for an axis.
constexpr std::int64_t decomposed_rows(std::int64_t Q, std::int64_t K) { return 2 * std::max(Q, K) - 1; }

/// I(a, b), in float32 as the sources compute it.
constexpr std::int64_t decomposed_row(std::int64_t Q, std::int64_t K, std::int64_t a, std::int64_t b) {
  const double k_over_q = static_cast<double>(K) / static_cast<double>(Q);
  const double q_over_k = static_cast<double>(Q) / static_cast<double>(K);
  const double key_step = std::max(q_over_k, 1.0);
  const float query = static_cast<float>(a) * static_cast<float>(std::max(k_over_q, 1.0));
  const float key = static_cast<float>(b) * static_cast<float>(key_step);
  return static_cast<std::int64_t>((query - key) + static_cast<float>(static_cast<double>(K - 1) * key_step));
}

// ---- parameters

struct Decomposed {
  static constexpr const char* kFrames = "rel_pos_t";
  static constexpr const char* kRows = "rel_pos_h";
  static constexpr const char* kColumns = "rel_pos_w";
  Var frames = {}, rows = {}, columns = {};  ///< (decomposed_rows(Q, K), D) each; undefined: not used
};

/// A table of another length for an axis of Q query and K key places: linear along the length, half-pixel
/// centres, no antialias. Throws Error when it is no (rows, D) or the axis is empty.
Var resize_decomposed(const Context& ctx, const Var& table, std::int64_t Q, std::int64_t K);

// ---- lowering

/// Indices for a grid of queries on a grid of keys, both behind `prefix` special tokens. Axes of one place on
/// both sides are left out where the table is; `frames` says whether there is one. Throws Error on empty
/// grids.
AxisIndices decomposed_indices(const Grid& query, const Grid& key, std::int64_t prefix = 0,
                               bool frames = false);

/// Indices for windows: each token has the coordinates of its place in its window. The windows of `maps` hold
/// `query` tokens and `key` keys, row-major.
AxisIndices decomposed_window_indices(const RowMaps& maps, std::int64_t tokens, const Grid& query,
                                      const Grid& key);

/// The term for ops/attention. q (B, N, H D) as it is, unscaled; or a joint (B, N, 3 H D) with head_width =
/// D. Throws Error that names the table and both shapes when its length is not that of the indices.
AttentionTerm decomposed_term(const Context& ctx, const Decomposed& tables, const Var& q, std::int64_t heads,
                              const AxisIndices& indices, std::int64_t head_width = 0);

// ---- the equation, as it stands

/// One axis: q.R[I(a, b)], `table` (2 max(Q, K) - 1, D) row-major.
template <class T>
T decomposed_score(const T* q, const T* table, std::int64_t D, std::int64_t Q, std::int64_t K, std::int64_t a,
                   std::int64_t b) {
  const double up = K > Q ? double(K) / double(Q) : 1.0, down = Q > K ? double(Q) / double(K) : 1.0;
  const auto row = static_cast<std::int64_t>(double(a) * up + double(K - 1 - b) * down + 1e-6);
  T sum{};
  for (std::int64_t d = 0; d < D; ++d) sum += q[d] * table[row * D + d];
  return sum;
}

}  // namespace locant
