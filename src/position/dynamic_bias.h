#pragma once

// A bias table made by a small MLP of the displacement:
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + g(dr, dc)[h],                     (dr, dc) query minus key
//
// CrossFormer (Wang et al. 2022, "CrossFormer", dynamic position bias): g = three steps of
// Linear(relu(LayerNorm(.))) on Linear(dr, dc); the first two keep the width and may have skips around them.
// timm's relpos models: g = W2 relu(W1 (rho(dr), rho(dc)) + b1) + b2, rho(d) = sign(d) ln(1 + |d|); special
// tokens in front get nothing. Enters: score. Parameters, under the attention's name: `pos.pos_proj`,
// `pos.pos1.{0,2}`, `pos.pos2.{0,2}`, `pos.pos3.{0,2}`; `rel_pos.mlp.{fc1,fc2}` (hidden 128, dropout 0.125
// behind its ReLU while training). Init: normal 0.02, biases 0. Resize: none needed, any grid asks the same
// MLP. Gradient: of the table by the kernel, of the MLP by the tape, once over (2 h - 1)(2 w - 1) rows.
// Models: CrossFormer; timm's vit_relpos.

#include <array>
#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "position/swin_bias.h"

namespace locant {

// ---- index arithmetic: rows as in swin_bias.h

/// rho of timm's relpos models.
inline double relpos_coordinate(std::int64_t displacement) {
  const auto d = static_cast<double>(displacement);
  return std::copysign(std::log(1.0 + std::abs(d)), d);
}

// ---- parameters

/// CrossFormer's. Width: C / 16 in the models.
struct DynamicBias {
  static constexpr const char* kProjection = "pos.pos_proj";  // and pos.pos1, .pos2, .pos3
  static constexpr float kNormEps = 1e-5f;
  struct Step {
    Var norm_weight, norm_bias;  ///< `0`: (width)
    Var weight, bias;            ///< `2`: (width or H, width), (width or H)
  };
  Var weight, bias;  ///< `pos_proj`: (width, 2), (width)
  std::array<Step, 3> steps;
  bool residual = false;
};

/// timm's.
struct RelPosMlp {
  static constexpr const char* kFirst = "rel_pos.mlp.fc1";
  static constexpr const char* kSecond = "rel_pos.mlp.fc2";
  static constexpr std::int64_t kHidden = 128;
  static constexpr float kDropout = 0.125f;
  Var first_weight, first_bias;    ///< (hidden, 2), (hidden)
  Var second_weight, second_bias;  ///< (H, hidden), (H)
  float dropout = 0.0f;            ///< of the hidden numbers, while training
};

// ---- lowering

/// g for every displacement of a grid, rows as swin_index has them: ((2 h - 1)(2 w - 1), H). Throws Error
/// when a tensor does not fit.
Var dynamic_bias_table(const Context& ctx, const DynamicBias& bias, Window grid, std::int64_t heads);
Var relpos_mlp_table(const Context& ctx, const RelPosMlp& mlp, Window grid, std::int64_t heads);

/// A table of those as the term, behind `prefix` special tokens that get nothing.
AttentionTerm displacement_term(const Var& table, Window grid, std::int64_t heads, std::int64_t prefix = 0);

// ---- the equations, as they stand

/// g = W2 relu(W1 (rho(dr), rho(dc)) + b1) + b2 of one head: w2 its row, b2 its number.
template <class T>
T relpos_mlp(std::int64_t dr, std::int64_t dc, const T* w1, const T* b1, const T* w2, T b2,
             std::int64_t hidden) {
  T sum = b2;
  for (std::int64_t n = 0; n < hidden; ++n) {
    const T z = w1[2 * n] * relpos_coordinate(dr) + w1[2 * n + 1] * relpos_coordinate(dc) + b1[n];
    if (std::real(z) > 0) sum += w2[n] * z;
  }
  return sum;
}

/// One step of CrossFormer's: y = W relu(LayerNorm(x)) + b, x (width), W (rows, width).
template <class T>
std::vector<T> dynamic_bias_step(const std::vector<T>& x, const T* gamma, const T* beta, const T* weight,
                                 const T* bias, std::size_t rows) {
  const std::size_t width = x.size();
  T mean{}, variance{};
  for (const T& a : x) mean += a / static_cast<double>(width);
  for (const T& a : x) variance += (a - mean) * (a - mean) / static_cast<double>(width);
  std::vector<T> y(bias, bias + rows);
  for (std::size_t n = 0; n < width; ++n) {
    const T z = (x[n] - mean) / std::sqrt(variance + 1e-5) * gamma[n] + beta[n];
    for (std::size_t r = 0; std::real(z) > 0 && r < rows; ++r) y[r] += weight[r * width + n] * z;
  }
  return y;
}

}  // namespace locant
