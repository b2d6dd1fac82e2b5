#pragma once

// A joint table of relative position vectors: the undecomposed form that Li et al. 2022, "MViTv2", start
// from, with one vector for each displacement of the plane:
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + q_i.R[r_i - r_j + h - 1, c_i - c_j + w - 1]        query minus key
//
// Enters: score; q is not scaled in the position term, as in SAM, or scaled like the content (`scaled`). i,
// j: tokens of a grid h x w, row-major; special tokens in front get nothing. Parameters: R (2h - 1, 2w - 1,
// D), shared by the heads; zeros at the start. Gradient: dR and its share of dq by the kernel. Cost: the
// vectors of a tile's displacements are multiplied tile by tile, about twice the products of q.k; nothing is
// stored. Models: none released; the decomposed form (position/decomposed.h) is what is used.

#include <cstdint>
#include <memory>
#include <span>

#include "ops/attention/attention.h"
#include "position/shared/grid_gather.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t joint_2d_rows(const Grid& g) { return displacement_rows({1, g.rows, g.columns}); }

/// Row of the flattened table for query token i and key token j.
constexpr std::int64_t joint_2d_row(const Grid& g, std::int64_t i, std::int64_t j) {
  return displacement_index({1, g.rows, g.columns}, i, j);
}

// ---- parameters

struct Joint2d {
  static constexpr const char* kTable = "rel_pos";
  Var table = {};  ///< (2h - 1, 2w - 1, D)
  bool scaled = false;
};

// ---- lowering

/// Throws Error when the grid is empty or has frames.
std::shared_ptr<const OffsetMap> joint_2d_gather(const Grid& grid, std::int64_t prefix = 0);

/// The term for a call with the given scale (D^-0.5 usually). Throws Error that names both shapes when the
/// table is not the grid's.
AttentionTerm joint_2d_term(const Context& ctx, const Joint2d& joint, const Grid& grid, float scale,
                            std::shared_ptr<const OffsetMap> gather);

// ---- the equation, as it stands

/// q.R of one pair; table (2h - 1, 2w - 1, D) row-major.
template <class T>
T joint_2d_score(const T* q, std::span<const T> table, const Grid& g, std::int64_t D, std::int64_t i,
                 std::int64_t j) {
  const std::int64_t off_y = i / g.columns - j / g.columns, off_x = i % g.columns - j % g.columns;
  T sum{};
  for (std::int64_t d = 0; d < D; ++d)
    sum += q[d] * table[static_cast<std::size_t>(
                      ((off_y + g.rows - 1) * (2 * g.columns - 1) + off_x + g.columns - 1) * D + d)];
  return sum;
}

}  // namespace locant
