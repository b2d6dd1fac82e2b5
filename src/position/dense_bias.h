#pragma once

// A bias of the user's own, a number for every pair:
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + bias[b, h, i, j]
//
// For what has no structure that a table could use: pairwise features, graphs, a mask of soft weights.
// Enters: score, unscaled. Shapes: (Nq, Nk), (H, Nq, Nk), (B, 1, H, Nq, Nk) (the second axis counts groups,
// windows), extents of 1 shared; (.., 1, Nk) is a number per key. Parameters: the bias itself, `bias`.
// Gradient: by the kernel. Cost: the bias is read once, and it is the only encoding whose memory grows with
// Nq Nk: where the numbers depend on a displacement, a gather term does the same in linear memory. Models:
// Graphormer, AlphaFold's pair bias, and one's own.

#include <cstdint>

#include "ops/attention/attention.h"

namespace locant {

// ---- parameters

struct DenseBias {
  static constexpr const char* kBias = "bias";
  Var bias;
};

// ---- lowering

/// The term for ops/attention, with its numbers checked: throws Error when they are missing, do not spread
/// over (B, 1, heads, Nq, Nk), or one of them is NaN or +inf (-inf hides a key).
AttentionTerm dense_bias_term(const DenseBias& dense, std::int64_t B, std::int64_t heads, std::int64_t Nq,
                              std::int64_t Nk);

// ---- the equation, as it stands

/// bias with extents (b, h, q, k) over the full ones, 1 where shared.
template <class T>
T dense_bias_score(T qk, const T* bias, const std::int64_t (&extent)[4], std::int64_t b, std::int64_t h,
                   std::int64_t i, std::int64_t j) {
  const std::int64_t at[4] = {b, h, i, j};
  std::int64_t flat = 0;
  for (int axis = 0; axis < 4; ++axis) flat = flat * extent[axis] + (extent[axis] == 1 ? 0 : at[axis]);
  return qk + bias[flat];
}

}  // namespace locant
