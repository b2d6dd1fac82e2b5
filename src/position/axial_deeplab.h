#pragma once

// Position-sensitive axial attention. Wang et al. 2020, "Axial-DeepLab": along one axis at a time,
//
//   S[h, i, j] = a_h q_i.k_j + b_h q_i.Rq[I(i, j)] + c_h k_j.Rk[I'(i, j)]                       no 1/sqrt(D)
//   out_i = sum_j softmax_j(S) (v_j + Rv[I(i, j)])
//   I(i, j) = j - i + K - 1 = I'(i, j)        deeplab2; K: the largest span, places of the line at most
//   I(i, j) = i - j + K - 1, I'(i, j) = j - i + K - 1            csrhddlam's PyTorch code, the released one
//
// Enters: score and value. i, j: places on a line of the grid (a row or a column; lines are row maps). a, b,
// c: scales of the three logits for each head. The official batch norm over the logits, one channel for each
// kind and head, is exactly this in evaluation: weight / sqrt(var + eps) is the scale, and what it adds is
// the same for all keys, hence without effect. In training its statistics need every logit, N x K numbers:
// composed only (nn/axial_attention.h). Parameters: Rq and Rk (2K - 1, D), Rv (2K - 1, Dv), shared by the
// heads; Rv may have one for each (H, 2K - 1, Dv). csrhddlam packs them as "relative" (D + D + Dv, 2K - 1),
// columns the rows here, started as normal of Dv^-0.5 there, deeplab2 of 1. Gradient: all by the kernel.
// Cost: the vectors of a tile's offsets are multiplied tile by tile, twice for the scores and once for the
// values; nothing is stored. Models: Axial-DeepLab, Axial-ResNet, MaX-DeepLab.

#include <array>
#include <cstdint>
#include <memory>

#include "position/shared/axis.h"

namespace locant {

// ---- index arithmetic

enum class AxialOrder { query_minus_key, key_minus_query };

constexpr std::int64_t axial_deeplab_rows(std::int64_t K) { return 2 * K - 1; }

constexpr std::int64_t axial_deeplab_row(std::int64_t K, AxialOrder order, std::int64_t i, std::int64_t j) {
  return (order == AxialOrder::query_minus_key ? i - j : j - i) + K - 1;
}

// ---- parameters

struct AxialDeeplab {
  static constexpr const char* kRelative = "relative";
  std::int64_t K = 56;
  AxialOrder order = AxialOrder::query_minus_key;            ///< of Rq and Rv; Rk is key minus query always
  Var query = {}, key = {};                                  ///< (2K - 1, D)
  Var value = {};                                            ///< (2K - 1, Dv) or (H, 2K - 1, Dv)
  Var content_scale = {}, query_scale = {}, key_scale = {};  ///< (H); undefined: 1
};

/// Rq, Rk, Rv of csrhddlam's packed table (2 D + Dv, 2K - 1), D the width of queries and keys.
std::array<Var, 3> axial_deeplab_split(const Context& ctx, const Var& relative, std::int64_t D);

// ---- lowering

/// The lines of a grid along one axis as groups.
std::shared_ptr<const RowMaps> axial_rows(const Grid& grid, GridAxis axis);

/// Adds everything to a call on lines of n places: scale 1, the factor, two terms, the value term. q is D
/// wide a head, v Dv. Throws Error that names the table and both shapes, or a line longer than the span.
void add_axial_deeplab(const Context& ctx, const AxialDeeplab& tables, std::int64_t n, std::int64_t D,
                       std::int64_t Dv, AttentionOptions& options);

// ---- the equation, as it stands

/// S of one pair; rq and rk are its rows.
template <class T>
T axial_deeplab_score(const T* q, const T* k, const T* rq, const T* rk, std::int64_t D,
                      const std::array<T, 3>& scales) {
  T content{}, query{}, key{};
  for (std::int64_t d = 0; d < D; ++d) content += q[d] * k[d], query += q[d] * rq[d], key += k[d] * rk[d];
  return scales[0] * content + scales[1] * query + scales[2] * key;
}

}  // namespace locant
