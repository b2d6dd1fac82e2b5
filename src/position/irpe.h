#pragma once

// Image relative position encoding. Wu et al. 2021, "Rethinking and Improving Relative Position Encoding for
// Vision Transformer", as the official code computes it:
//
//   contextual  S_ij = (q_i.k_j + q_i.rK[I_ij] + k_j.rQ[I_ji]) / sqrt(D)
//               out_i = sum_j P_ij (v_j + rV[I_ij])
//   bias        S_ij = q_i.k_j / sqrt(D) + rK[I_ij] + rQ[I_ji]              (numbers, not scaled)
//
// Enters: score and value. I_ij is the bucket of the offset query minus key in rows y and columns x; on q it
// is looked up in the key's row, I_ji. With the piecewise g below:
//
//   euclidean   g(round(sqrt(y^2 + x^2)))
//   quantised   g(y^2 + x^2): squared, as the code and not the paper
//   cross       g(y) and g(x) in two tables
//   product     g(y) and g(x) together in one
//
// A pair with a token in front of the grid (class token) reads the last bucket. Parameters: "rpe_q", "rpe_k",
// "rpe_v" . "lookup_table_weight" (1 or H, D, buckets), on v (1 or H, buckets, Dv); bias
// "lookup_table_bias" (1 or H, buckets); cross "rp_rows" and "rp_cols" between. They start at zero. Gradient:
// bucket and value terms by the kernel, tables by head_products. Cost: N buckets D multiply-adds a head and
// table and a look-up a score; only buckets that the grid reaches are computed. Models: DeiT and DETR with
// iRPE (microsoft/Cream).

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

enum class IrpeMethod { euclidean, quantised, cross, product };
enum class IrpeMode { bias, contextual };

/// Distances up to alpha are told apart, up to gamma by their logarithm, and none beyond beta in the result.
struct IrpeBins {
  double alpha = 1.9, beta = 3.8, gamma = 15.2;
  /// beta = 2 alpha, gamma = 8 alpha, as all released models.
  static constexpr IrpeBins ratio(double alpha) { return {alpha, 2 * alpha, 8 * alpha}; }
  constexpr std::int64_t most() const { return static_cast<std::int64_t>(beta); }
};

/// g(x): x up to alpha, then alpha + ln(|x| / alpha) / ln(gamma / alpha) (beta - alpha), rounded half to
/// even, at most beta, cut to an integer; g(-x) = -g(x).
inline std::int64_t irpe_piecewise(const IrpeBins& bins, std::int64_t x) {
  const double size = std::abs(static_cast<double>(x));
  if (size <= bins.alpha) return x;
  const double far = std::log(size / bins.alpha) / std::log(bins.gamma / bins.alpha);
  const double g = std::min(std::nearbyint(bins.alpha + far * (bins.beta - bins.alpha)), bins.beta);
  return x < 0 ? -static_cast<std::int64_t>(g) : static_cast<std::int64_t>(g);
}

/// Rows of one table; `skip` tokens stand in front of the grid.
constexpr std::int64_t irpe_buckets(IrpeMethod method, const IrpeBins& bins, std::int64_t skip) {
  const std::int64_t side = 2 * bins.most() + 1;
  return (method == IrpeMethod::product ? side * side : side) + (skip > 0 ? 1 : 0);
}

/// Bucket of two grid tokens: off_y and off_x are query minus key. `part` 0: the only table, or that of the
/// rows of `cross`; 1: that of its columns.
inline std::int64_t irpe_bucket(IrpeMethod method, const IrpeBins& bins, int part, std::int64_t off_y,
                                std::int64_t off_x) {
  const std::int64_t square = off_y * off_y + off_x * off_x;
  switch (method) {
    case IrpeMethod::euclidean: {
      const double distance = std::nearbyint(std::sqrt(static_cast<double>(square)));
      return irpe_piecewise(bins, static_cast<std::int64_t>(distance)) + bins.most();
    }
    case IrpeMethod::quantised:
      return irpe_piecewise(bins, square) + bins.most();
    case IrpeMethod::cross:
      return irpe_piecewise(bins, part == 0 ? off_y : off_x) + bins.most();
    case IrpeMethod::product:
      break;
  }
  return (irpe_piecewise(bins, off_y) + bins.most()) * (2 * bins.most() + 1) + irpe_piecewise(bins, off_x) +
         bins.most();
}

/// A grid behind `skip` tokens.
struct IrpeGrid {
  std::int64_t rows = 1, columns = 1, skip = 0;
  constexpr std::int64_t tokens() const { return skip + rows * columns; }
};

/// What the official code makes of `tokens` tokens when it is told no grid: the largest square, and the rest
/// skipped.
constexpr IrpeGrid irpe_square(std::int64_t tokens) {
  std::int64_t side = 0;
  while ((side + 1) * (side + 1) <= tokens) ++side;
  return {side, side, tokens - side * side};
}

// ---- parameters

struct IrpeForm {
  IrpeMethod method = IrpeMethod::product;
  IrpeMode mode = IrpeMode::contextual;
  IrpeBins bins = {};
};

/// "rpe_k.lookup_table_weight": `side` is q, k or v; part as in irpe_bucket.
std::string irpe_name(const IrpeForm& form, char side, int part);
/// Shape of such a table; `tables`: 1 shared by the heads, or H. width: D, on v Dv.
Shape irpe_shape(const IrpeForm& form, char side, std::int64_t tables, std::int64_t width, std::int64_t skip);

/// The tables of one side; [1] is used by cross alone.
using IrpeTables = std::array<Var, 2>;
struct Irpe {
  IrpeTables on_q = {}, on_k = {}, on_v = {};  ///< undefined: not on that side; on v only contextual
};

// ---- lowering

/// Which rows of a table the pairs read: `gather` reads row x of the rows `buckets` (of `columns` too, where
/// two tables are added up for the values of cross).
struct IrpeLookup {
  std::shared_ptr<const OffsetMap> gather = nullptr;
  std::vector<std::int32_t> buckets = {}, columns = {};
};

/// Of one grid, for all layers on it. O(tokens) integers.
struct IrpeMaps {
  IrpeForm form = {};
  IrpeGrid grid = {};
  std::array<IrpeLookup, 2> on_q = {}, on_k = {};  ///< [1]: the columns of cross
  IrpeLookup on_v = {};
};
/// Throws Error when the grid is empty or too large, or the bins are not 0 < alpha <= beta, alpha < gamma.
IrpeMaps irpe_maps(const IrpeForm& form, const IrpeGrid& grid);

/// Adds to a call on q (B, N, H D), k and values Dv wide: terms on k (one, two for cross), then on q, and the
/// value term. Throws Error when a table has another shape, or N is not the grid's.
void add_irpe(const Context& ctx, const Irpe& irpe, const IrpeMaps& maps, const Var& q, const Var& k,
              std::int64_t Dv, AttentionOptions& options);

// ---- the equation, as it stands

/// Contextual score of one pair; r_k points to rK[I_ij], r_q to rQ[I_ji], D numbers each.
template <class T>
T irpe_score(const T* q, const T* k, const T* r_k, const T* r_q, std::int64_t D) {
  T sum{};
  for (std::int64_t d = 0; d < D; ++d) sum += q[d] * (k[d] + r_k[d]) + k[d] * r_q[d];
  return sum / std::sqrt(static_cast<double>(D));
}

}  // namespace locant
