#pragma once

// LeViT's attention bias: Graham et al. 2021, "LeViT"; the same in TinyViT (Wu et al. 2022):
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + A[h, I(i, j)],   I(i, j) = |s r_i - r_j| Wk + |s c_i - c_j|
//
// Absolute displacements on the key grid of Hk x Wk, so that a picture and its mirror image agree. s: step of
// the queries where attention also shrinks the grid (LeViT's AttentionSubsample: 2), else 1. Enters: score.
// Parameters: A (H, Hk Wk), `attention_biases`, heads first; `attention_bias_idxs` and the gathered `ab` of
// checkpoints are derived. Init: 0. Resize: bicubic over the grid of displacements (TinyViT's loader).
// Gradient: by the kernel, A's transpose by the tape. Models: LeViT, TinyViT, MobileSAM, EfficientFormer.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "ops/attention/attention.h"
#include "position/grid.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t levit_row(Window key, std::int64_t dr, std::int64_t dc) {
  return (dr < 0 ? -dr : dr) * key.columns + (dc < 0 ? -dc : dc);
}
/// I(i, j): query i of a grid with `query_columns`, every `step`-th place of the key grid.
constexpr std::int64_t levit_index(Window key, std::int64_t query_columns, std::int64_t step, std::int64_t i,
                                   std::int64_t j) {
  return levit_row(key, step * (i / query_columns) - j / key.columns,
                   step * (i % query_columns) - j % key.columns);
}
/// Side of the query grid: every step-th place from the first.
constexpr std::int64_t levit_query_side(std::int64_t key_side, std::int64_t step) {
  return (key_side - 1) / step + 1;
}

// ---- parameters

struct LevitBias {
  static constexpr const char* kTable = "attention_biases";
  Window key;  ///< grid that the biases were made for
  Var table;   ///< (H, key.tokens())
};

/// The biases for another grid: bicubic (a = -0.75, no antialias). Throws Error when they do not fit `from`.
Var resize_levit_bias(const Context& ctx, const Var& table, Window from, Window to);

// ---- lowering

/// Throws Error when the key grid is empty or the step not positive.
std::shared_ptr<const OffsetMap> levit_gather(Window key, std::int64_t step);

/// The term for ops/attention: queries on every step-th place. Throws Error when the table does not fit.
AttentionTerm levit_bias_term(const Context& ctx, const LevitBias& bias, std::int64_t heads,
                              std::int64_t step = 1);

// ---- the equation, as it stands

/// table (H, Hk Wk); (ry, rx) the query's place on the key grid.
template <class T>
T levit_bias_score(T qk, const T* table, std::int64_t h, Window key, std::int64_t ry, std::int64_t rx,
                   std::int64_t j) {
  const std::int64_t down = std::abs(ry - j / key.columns), across = std::abs(rx - j % key.columns);
  return qk + table[h * key.rows * key.columns + down * key.columns + across];
}

}  // namespace locant
