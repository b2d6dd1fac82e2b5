#pragma once

// Relative logits. Bello et al. 2019, "Attention Augmented Convolutional Networks"; Srinivas et al. 2021,
// "Bottleneck Transformers"; Vaswani et al. 2021, HaloNet. Key minus query:
//
//   S[h, i, j] = (q_i.k_j + q_i.Rh[r_j - r_i + h - 1] + q_i.Rw[c_j - c_i + w - 1]) / sqrt(D)
//
// Enters: score, q scaled in all three (timm's default leaves it unscaled in the position terms). i, j:
// tokens of a grid h x w. HaloNet: queries of a block b x b on the keys of b + 2 halo a side; r_i is the
// place in the block and r_j that in its window of h = b + 2 halo, so that rows of the table below 2 halo are
// never read. Keys outside the picture are zeros there (timm) or masked. Absolute variant: Rh[r_j] and
// Rw[c_j] alone. Parameters: Rh (2h - 1, D) and Rw (2w - 1, D), shared by the heads, normal of D^-0.5
// (BoTNet, HaloNet) or 1 (attention-augmented convolution): "pos_emb.rel_height", "pos_emb.rel_width" in
// lucidrains' BoTNet (absolute: "pos_emb.height", "pos_emb.width"), "pos_embed.height_rel",
// "pos_embed.width_rel" in timm, "key_rel_h", "key_rel_w" in the augmented convolution. Gradient: of the
// numbers per place by the kernel, the rest by axis_products. Cost: N (h + w) D multiply-adds a head and two
// additions a score; H N (h + w) floats. Models: AA-ResNet, BoTNet, HaloNet.

#include <cstdint>
#include <memory>

#include "position/shared/axis.h"

namespace locant {

// ---- index arithmetic

/// Row of the table of an axis with K key places, for a query at place a and a key at place b.
constexpr std::int64_t relative_logits_row(std::int64_t K, std::int64_t a, std::int64_t b) {
  return b - a + K - 1;
}

// ---- parameters

struct RelativeLogits {
  static constexpr const char* kRows = "rel_height";
  static constexpr const char* kColumns = "rel_width";
  static constexpr const char* kAbsoluteRows = "height";
  static constexpr const char* kAbsoluteColumns = "width";
  Var rows = {}, columns = {};  ///< (2K - 1, D) each, absolute: (K, D)
  bool absolute = false;
  bool scaled = true;  ///< q in the position terms, as in q.k
};

// ---- lowering

/// Queries and keys on one grid. Throws Error on an empty one.
AxisIndices relative_logits_indices(const Grid& grid);
/// The same for absolute tables.
AxisIndices absolute_logits_indices(const Grid& grid);

/// HaloNet: blocks of block x block queries that see `halo` more on every side. With
/// AttentionOptions::zero_pad keys outside the grid are zeros, as in timm. With a stride every stride-th
/// place of a row and of a column asks, ceil(rows / stride) x ceil(columns / stride) queries in all; a
/// query's place in its block is then counted in strides (timm). Throws Error when the stride does not divide
/// the block.
std::shared_ptr<const RowMaps> halo_rows(const Grid& grid, std::int64_t block, std::int64_t halo,
                                         std::int64_t stride = 1);
/// `tokens`: queries of the maps.
AxisIndices halo_indices(const RowMaps& maps, std::int64_t tokens, std::int64_t block, std::int64_t halo,
                         std::int64_t stride = 1);

/// The term for a call with the given scale. q (B, N, H D), not scaled yet. Throws Error that names the table
/// and both shapes when its rows are not those of the indices.
AttentionTerm relative_logits_term(const Context& ctx, const RelativeLogits& tables, const Var& q,
                                   std::int64_t heads, float scale, const AxisIndices& indices);

// ---- the equation, as it stands

/// One axis of one pair: q.R[b - a + K - 1]; table (2K - 1, D).
template <class T>
T relative_logits_score(const T* q, const T* table, std::int64_t D, std::int64_t K, std::int64_t a,
                        std::int64_t b) {
  T sum{};
  for (std::int64_t d = 0; d < D; ++d) sum += q[d] * table[(b - a + K - 1) * D + d];
  return sum;
}

}  // namespace locant
