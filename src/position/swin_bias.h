#pragma once

// Swin's relative position bias. Liu et al. 2021, "Swin Transformer":
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + T[I(i, j), h],   P = softmax_j(S)
//   I(i, j) = (r_i - r_j + Wh - 1)(2 Ww - 1) + (c_i - c_j + Ww - 1)       query minus key, row first
//
// Enters: score, added to the logits; one number a head and offset. i, j: tokens of a window of Wh x Ww,
// row-major. Parameters: T ((2 Wh - 1)(2 Ww - 1), H), "relative_position_bias_table" in every library's
// checkpoints. Gradient: dT by the kernel, dT[t, h] = sum of dS[h, i, j] over batch, windows and all (i, j)
// with I(i, j) = t. Cost: one table look-up and addition a score; no index per pair is stored. Models: Swin
// V1 (microsoft/Swin-Transformer, timm, torchvision, Hugging Face).

#include <cstdint>
#include <memory>
#include <span>

#include "ops/attention/attention.h"
#include "position/grid.h"
#include "position/shared/grid_gather.h"

namespace locant {

// ---- index arithmetic

/// Rows of the table.
constexpr std::int64_t swin_table_rows(Window w) { return displacement_rows({1, w.rows, w.columns}); }

/// I(i, j): row of the table for query token i and key token j of a window.
constexpr std::int64_t swin_index(Window w, std::int64_t i, std::int64_t j) {
  return displacement_index({1, w.rows, w.columns}, i, j);
}

/// A token's code: I(i, j) = swin_code(i) - swin_code(j) + swin_origin. `table` is the window that the table
/// was made for, `w` the one in use: a smaller window takes the middle of the table, since an offset means
/// the same in both.
constexpr std::int64_t swin_code(Window table, Window w, std::int64_t i) {
  return i / w.columns * (2 * table.columns - 1) + i % w.columns;
}
constexpr std::int64_t swin_origin(Window table) {
  return (table.rows - 1) * (2 * table.columns - 1) + table.columns - 1;
}

// ---- parameters

/// The table as a tape value, under the name that checkpoints give it.
struct SwinBias {
  static constexpr const char* kTable = "relative_position_bias_table";
  Window window;  ///< that the table was made for
  Var table;      ///< (swin_table_rows(window), H)
};

/// The table for another window, as the official loader makes it: bicubic over the grid of offsets (a =
/// -0.75, no antialias). table (swin_table_rows(from), H) -> (swin_table_rows(to), H). Throws Error when the
/// rows do not fit `from`.
Var resize_swin_bias(const Context& ctx, const Var& table, Window from, Window to);

// ---- lowering

/// Codes and origin for a window in use no larger than the table's. Throws Error when it is larger, or empty.
std::shared_ptr<const OffsetMap> swin_gather(Window table, Window w);

/// The term for ops/attention. Throws Error when the table's rows do not fit its window.
AttentionTerm swin_bias_term(const SwinBias& bias, std::shared_ptr<const OffsetMap> gather);

// ---- the equation, as it stands: oracle of values and gradients

/// qk = q_i.k_j / sqrt(D); table ((2 Wh - 1)(2 Ww - 1), H) row-major.
template <class T>
T swin_bias_score(T qk, std::span<const T> table, std::int64_t heads, std::int64_t h, Window w,
                  std::int64_t i, std::int64_t j) {
  const std::int64_t off_y = i / w.columns - j / w.columns;
  const std::int64_t off_x = i % w.columns - j % w.columns;
  const std::int64_t row = (off_y + w.rows - 1) * (2 * w.columns - 1) + off_x + w.columns - 1;
  return qk + table[static_cast<std::size_t>(row * heads + h)];
}

}  // namespace locant
