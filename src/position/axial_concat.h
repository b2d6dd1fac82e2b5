#pragma once

// The axial form of relative position vectors: a vector for the column offset and one for the row offset,
// behind each other. The surveys' combination of Shaw et al. 2018 with the halves of Ramachandran et al.
// 2019:
//
//   S[h, i, j] = q_i.(k_j + concat(px[clip(c_j - c_i, K) + K], py[clip(r_j - r_i, K) + K])) / sqrt(D)
//
// Enters: score, inside its scale; the first half of q meets the COLUMN vectors, the second half the row
// vectors. i, j: tokens of a grid, row-major; key minus query, clipped to +-K. Parameters: px (2K + 1, D/2)
// and py (2K + 1, D/2), shared by the heads or (H, 2K + 1, D/2); no official checkpoint, named "p_x" and
// "p_y". Started Xavier-uniform as Shaw's. Gradient: of the numbers per place by the kernel, the rest by
// axis_products. Cost: N (h + w) D / 2 multiply-adds a head and two additions a score; H N (h + w) floats.
// Models: none released.

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "position/shared/axis.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t axial_concat_rows(std::int64_t K) { return 2 * K + 1; }

/// Row of px or py for a query at place a and a key at place b of the axis.
constexpr std::int64_t axial_concat_row(std::int64_t K, std::int64_t a, std::int64_t b) {
  return std::clamp(b - a, -K, K) + K;
}

// ---- parameters

struct AxialConcat {
  static constexpr const char* kColumns = "p_x";
  static constexpr const char* kRows = "p_y";
  std::int64_t K = 7;
  Var columns = {}, rows = {};  ///< (2K + 1, D/2) or (H, 2K + 1, D/2)
};

// ---- lowering

/// Throws Error when K is negative or a grid empty.
AxisIndices axial_concat_indices(std::int64_t K, const Grid& query, const Grid& key);

/// The term for a call with the given scale. q (B, N, H D). Throws Error that names the table and both shapes
/// when it is not (2K + 1, D/2), or when D is odd.
AttentionTerm axial_concat_term(const Context& ctx, const AxialConcat& tables, const Var& q,
                                std::int64_t heads, float scale, const AxisIndices& indices);

// ---- the equation, as it stands

/// One pair: px and py are the vectors of its offsets.
template <class T>
T axial_concat_score(const T* q, const T* k, const T* px, const T* py, std::int64_t D) {
  T s{};
  for (std::int64_t d = 0; d < D; ++d) s += q[d] * (k[d] + (d < D / 2 ? px[d] : py[d - D / 2]));
  return s / std::sqrt(static_cast<double>(D));
}

}  // namespace locant
