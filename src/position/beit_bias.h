#pragma once

// BEiT's relative position bias with rows for the class token. Bao et al. 2022, "BEiT", as its
// fine-tuning code has it: Swin's bias over the whole image.
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + T[I(i, j), h]
//   I(i, j) = Swin's index for patches;   R - 3: class token as query, R - 2: as key, R - 1: with itself
//
// R = (2 h - 1)(2 w - 1) + 3 rows. Enters: score. Tokens: class token, then patches row-major. Parameters: T
// (R, H), `relative_position_bias_table`; while pre-training one for all layers. Init: 0. Resize: the
// geometric scheme below. Gradient: by the kernel. Cost: one look-up and addition a score. Models: BEiT, BEiT
// v2, data2vec (vision).

#include <cstdint>
#include <memory>
#include <vector>

#include "position/swin_bias.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t beit_table_rows(Window grid) { return swin_table_rows(grid) + 3; }

/// I(i, j), token 0 the class token.
constexpr std::int64_t beit_index(Window grid, std::int64_t i, std::int64_t j) {
  const std::int64_t patches = swin_table_rows(grid);
  if (i == 0) return j == 0 ? patches + 2 : patches;
  return j == 0 ? patches + 1 : swin_index(grid, i - 1, j - 1);
}

// ---- parameters

struct BeitBias {
  static constexpr const char* kTable = "relative_position_bias_table";
  Window grid;  ///< of patches, that the table was made for
  Var table;    ///< (beit_table_rows(grid), H)
};

// ---- resize rule: displacements of the small table are spread geometrically over those of the large one

/// cubic: interpolating spline of degree 3 without knots next to the ends (BEiT's own loader). linear: on the
/// same coordinates (timm without SciPy). bilinear: two taps an axis, displacements spread evenly (Hugging
/// Face; it reads the table with its sides exchanged, so that one of a grid that is no square changes
/// always).
enum class BeitResize { cubic, linear, bilinear };

/// Ratio q of the geometric series 1 + q + ... of `from`/2 terms that reaches `to`/2, by bisection in [1.01,
/// 1.5] to 1e-6; `from` and `to` are sides of the table, 2 n - 1.
double beit_resize_ratio(std::int64_t from, std::int64_t to);

/// Where the entries of an axis lie: -d_n .. -d_1, 0, d_1 .. d_n, d_1 = 1 and d_{k+1} = d_k + q^k.
std::vector<double> beit_resize_coordinates(std::int64_t from, std::int64_t to);

/// The table for another grid; the three rows of the class token stay. table (beit_table_rows(from), H).
/// Throws Error when the rows do not fit, or an axis of `from` that changes is too short for a cubic: 3
/// patches (5 displacements) do.
Var resize_beit_bias(const Context& ctx, const Var& table, Window from, Window to,
                     BeitResize rule = BeitResize::cubic);

// ---- lowering

/// The map for `prefix` special tokens (BEiT: 1, all read the class token's rows) and the patches.
std::shared_ptr<const OffsetMap> beit_gather(Window grid, std::int64_t prefix = 1);

/// The term for ops/attention. Throws Error when the table does not fit its grid.
AttentionTerm beit_bias_term(const BeitBias& bias, std::int64_t heads, std::int64_t prefix = 1);

// ---- the equation, as it stands

/// i, j: patches, or -1 for a special token. table (R, H) row-major.
template <class T>
T beit_bias_score(T qk, const T* table, std::int64_t heads, std::int64_t h, Window grid, std::int64_t i,
                  std::int64_t j) {
  const std::int64_t rows = (2 * grid.rows - 1) * (2 * grid.columns - 1) + 3;
  std::int64_t row = (i / grid.columns - j / grid.columns + grid.rows - 1) * (2 * grid.columns - 1) +
                     i % grid.columns - j % grid.columns + grid.columns - 1;
  if (i < 0) row = rows - 3;
  if (j < 0) row = rows - 2;
  if (i < 0 && j < 0) row = rows - 1;
  return qk + table[row * heads + h];
}

}  // namespace locant
