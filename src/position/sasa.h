#pragma once

// Stand-alone self-attention. Ramachandran et al. 2019, "Stand-Alone Self-Attention in Vision Models": query
// i sees the window of k x k places around it,
//
//   S[h, i, j] = q_i.k_j + q_i.concat(Er[r_j - r_i + (k-1)/2], Ec[c_j - c_i + (k-1)/2])          no 1/sqrt(D)
//
// Enters: score: the first half of q meets the row vectors, the second half the column vectors. i, j: tokens
// of a grid, row-major. Keys outside the grid are masked, or keys and values of zeros that keep their
// position term (AttentionOptions::zero_pad): the paper does not say. Parameters: Er (k, D/2) and Ec (k,
// D/2), shared by the heads or (H, k, D/2), normal of 1 at the start. Gradient: of the numbers per place by
// the kernel, the rest by axis_products. Per-channel form (leaderj1001's port): every channel is a head of
// width 1, its softmax over the window by itself, and channel h adds one number per offset to the key: rel_h
// (C/2, 1, 1, k, 1) for the first half of the channels, rel_w (C/2, 1, 1, 1, k) for the second. Cost: blocks
// of queries on the keys around them, (b + k - 1)^2 scores a query for blocks of b x b, k D multiply-adds a
// token and head for the numbers, H N 2 (b + k - 1) floats. Models: SASA ResNets.

#include <cstdint>
#include <memory>

#include "position/shared/axis.h"

namespace locant {

// ---- index arithmetic

/// The places that a query sees: rows x columns of them, the first `top` above and `left` of it.
struct LocalWindow {
  std::int64_t rows = 7, columns = 7, top = 3, left = 3;
  static constexpr LocalWindow centred(std::int64_t k) { return {k, k, (k - 1) / 2, (k - 1) / 2}; }
};

/// Row of a table for the place a of the query and b of the key in the block of queries and in the keys
/// around it, which start `before` places earlier; negative: not in the window of k.
constexpr std::int64_t local_row(std::int64_t k, std::int64_t a, std::int64_t b) {
  return b >= a && b < a + k ? b - a : -1;
}

// ---- parameters

struct Sasa {
  static constexpr const char* kRows = "rel_h";
  static constexpr const char* kColumns = "rel_w";
  Var rows = {},
      columns = {};  ///< (k, D/2) or (H, k, D/2); per channel: (C/2, 1, 1, k, 1), (C/2, 1, 1, 1, k)
};

// ---- lowering

/// Blocks of queries on the keys around them, with the box that each query sees. Throws Error when the window
/// is empty or does not hold its query.
std::shared_ptr<const RowMaps> local_rows(const Grid& grid, const LocalWindow& window,
                                          const Grid& block = {1, 8, 8});
/// Indices for the row maps of the same window and block.
AxisIndices local_indices(const RowMaps& maps, std::int64_t tokens, const LocalWindow& window,
                          const Grid& block = {1, 8, 8});
/// Which place of the window, row-major, each query and key slot of a block stand in; none outside.
std::shared_ptr<const OffsetMap> local_gather(const LocalWindow& window, const Grid& block = {1, 8, 8});

/// The term for a call with scale 1. q (B, N, H D). Throws Error that names the table and both shapes when it
/// does not fit the window, or when D is odd.
AttentionTerm sasa_term(const Context& ctx, const Sasa& tables, const Var& q, std::int64_t heads,
                        const LocalWindow& window, const AxisIndices& indices);
/// The per-channel form: as many heads as channels, scale 1.
AttentionTerm sasa_channel_term(const Context& ctx, const Sasa& tables, std::int64_t channels,
                                const LocalWindow& window, std::shared_ptr<const OffsetMap> gather);

// ---- the equation, as it stands

/// q.(k + concat(row, column)).
template <class T>
T sasa_score(const T* q, const T* k, const T* row, const T* column, std::int64_t D) {
  T s{};
  for (std::int64_t d = 0; d < D; ++d) s += q[d] * (k[d] + (d < D / 2 ? row[d] : column[d - D / 2]));
  return s;
}

}  // namespace locant
