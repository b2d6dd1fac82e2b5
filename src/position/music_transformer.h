#pragma once

// Music Transformer's relative attention. Huang, Vaswani et al. 2018, section 3.4:
//
//   s_ij = (q_i.k_j + q_i.Er[R - 1 - distance]) / sqrt(D),   distance(i, j) = i + past - j >= 0
//
// Enters: score, inside its scale; causal. The last of the R rows is distance 0. Parameters: "Er" (R, D)
// shared by the heads, R at least the length, of which the last rows are used (gwinndr, starts uniform in
// [0, 1)); or "key_relative_embeddings" (R, D) or (H, R, D), distances from R on getting nothing
// (tensor2tensor, starts N(0, D^-0.5)). Gradient: by the kernel. Cost: one more product a pair, made per
// tile. The paper skews Q Er^T (its figure 1); nothing of size queries x keys exists here, so there is
// nothing to skew. Called without a mask the PyTorch port lets the skew's zeros take part: above the diagonal
// s_ij = q_i.k_j / sqrt(D), which is this term with all keys seen. Models: Music Transformer.

#include <cmath>
#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

/// Row for a distance, -1 for none: keys after the query, and those further back than there are rows.
constexpr std::int64_t music_transformer_row(std::int64_t rows, std::int64_t distance) {
  return distance < 0 || distance >= rows ? -1 : rows - 1 - distance;
}

// ---- parameters

struct MusicTransformer {
  static constexpr const char* kTable = "Er";
  Var table = {};  ///< (R, D) or (H, R, D)
};

// ---- lowering

/// Row music_transformer_row(rows, distance) for every pair of Nq queries, the last of the Nk keys. Throws
/// Error when Nq is below 1 or above Nk, or there are no rows.
std::shared_ptr<const OffsetMap> music_transformer_gather(std::int64_t rows, std::int64_t Nq,
                                                          std::int64_t Nk);

/// Adds the term, and the causal mask unless `causal` is false. Throws Error when the table has another
/// shape.
void add_music_transformer(const MusicTransformer& music, std::int64_t D, std::int64_t Nq, std::int64_t Nk,
                           AttentionOptions& options, bool causal = true);

// ---- the equation, as it stands

/// s_ij; e is the distance's row.
template <class T>
T music_transformer_score(const T* q, const T* k, const T* e, std::int64_t D) {
  T s{};
  for (std::int64_t d = 0; d < D; ++d) s += q[d] * k[d] + q[d] * e[d];
  return s / std::sqrt(static_cast<double>(D));
}

}  // namespace locant
