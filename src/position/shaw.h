#pragma once

// Relative position vectors on keys and values. Shaw et al. 2018, "Self-Attention with Relative Position
// Representations", equations 3 to 5:
//
//   e_ij = q_i.(k_j + aK_ij) / sqrt(D),   z_i = sum_j softmax_j(e)_ij (v_j + aV_ij)
//   aK_ij = wK[clip(j - i, K) + K],   aV_ij = wV[clip(j - i, K) + K],   clip(x, K) = max(-K, min(K, x))
//
// Enters: score (inside its scale) and value (outside any). i, j: positions, self-attention or across.
// Parameters: wK (2K+1, D) and wV (2K+1, Dv), shared by the heads or one for each (H, 2K+1, D);
// "relative_position_k.embeddings_table" and "relative_position_v.embeddings_table" in the PyTorch port of
// evelinehong, "relative_positions_keys/embeddings" and "relative_positions_values/embeddings" in
// tensor2tensor, "rel_pos_emb.weight" in lucidrains' Conformer, which reads wK query minus key: its table
// upside down. Initialised Xavier-uniform. Gradient: of both tables by the kernel and head_products. Cost:
// the key term Nq (2K+1) D multiply-adds a head and a look-up a score, since 2K+1 is small; the value term as
// much again. Models: the Transformer of the paper (K = 16, no absolute positions), lucidrains' Conformer.

#include <cmath>
#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

/// What the table's rows count: the paper's j - i, or the Conformer ports' i - j.
enum class ShawOrder { key_minus_query, query_minus_key };

constexpr std::int64_t shaw_rows(std::int64_t K) { return 2 * K + 1; }

/// Row of query i and key j.
constexpr std::int64_t shaw_row(std::int64_t K, ShawOrder order, std::int64_t i, std::int64_t j) {
  const std::int64_t x = order == ShawOrder::key_minus_query ? j - i : i - j;
  return (x < -K ? -K : x > K ? K : x) + K;
}

// ---- parameters

struct Shaw {
  static constexpr const char* kKeys = "relative_position_k.embeddings_table";
  static constexpr const char* kValues = "relative_position_v.embeddings_table";
  std::int64_t K = 16;
  ShawOrder order = ShawOrder::key_minus_query;
  Var keys = {};    ///< (2K+1, D) or (H, 2K+1, D); undefined: no key term
  Var values = {};  ///< (2K+1, Dv) or (H, 2K+1, Dv); undefined: no value term
};

/// Bound of the uniform start of a table.
inline double shaw_init_bound(std::int64_t K, std::int64_t width) {
  return std::sqrt(6.0 / static_cast<double>(shaw_rows(K) + width));
}

// ---- lowering

/// Throws Error when K is negative or a length below 1.
std::shared_ptr<const OffsetMap> shaw_gather(std::int64_t K, ShawOrder order, std::int64_t Nq,
                                             std::int64_t Nk);

/// Adds the key term and the value term, where their tables are defined, to a call on q (B, Nq, H D) and Nk
/// keys whose values are Dv wide. Throws Error when a table has another shape.
void add_shaw(const Context& ctx, const Shaw& shaw, const Var& q, std::int64_t Nk, std::int64_t Dv,
              AttentionOptions& options);

// ---- the equation, as it stands

/// e_ij of one pair; `row` points to aK_ij.
template <class T>
T shaw_score(const T* q, const T* k, const T* row, std::int64_t D) {
  T e{};
  for (std::int64_t d = 0; d < D; ++d) e += q[d] * (k[d] + row[d]);
  return e / std::sqrt(static_cast<double>(D));
}

}  // namespace locant
