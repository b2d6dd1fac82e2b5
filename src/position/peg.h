#pragma once

// Position encoding generator (PEG, CPE): Chu et al. 2021, "Conditional Positional Encodings for Vision
// Transformers":
//
//   Y = X + DWConv(X)        X the tokens as a picture (C, h, w), a kernel of k x k per channel, zeros around
//
// Zeros around the picture tell where its borders are. Enters, by placement:
//
//   between layers   tokens of a block go through PEG, after the first one in CPVT and in each stage of Twins
//   attention        out = softmax(q k^T / sqrt(D)) v + DWConv(v): Dong et al. 2022, CSWin (LePE)
//   feed-forward     out = fc2(gelu(DWConv(fc1(x)))): Wang et al. 2022, PVT v2
//
// Special tokens pass by. Parameters: weight (C, 1, k, k) and bias (C), "proj.0.weight", "proj.0.bias" in
// Twins. With a stride the tokens become fewer and the residual falls away (Twins' PosCNN). No table, so no
// resize rule. Gradient: by tape through conv2d. Cost: k^2 multiply-adds a number. Models: CPVT, Twins.

#include <cstdint>
#include <vector>

#include "position/shared/token_grid.h"

namespace locant {

// ---- index arithmetic

/// Tokens along an axis behind a stride; k odd and a padding of k / 2.
constexpr std::int64_t peg_extent(std::int64_t n, std::int64_t stride) { return (n - 1) / stride + 1; }
constexpr Grid peg_grid(Grid grid, std::int64_t stride) {
  return {1, peg_extent(grid.rows, stride), peg_extent(grid.columns, stride)};
}

// ---- parameters

struct Peg {
  static constexpr const char* kWeight = "proj.0.weight";
  static constexpr const char* kBias = "proj.0.bias";
  Var weight;  ///< (C, 1, k, k), k odd
  Var bias;    ///< (C), may be undefined
  std::int64_t stride = 1;
  bool residual = true;         ///< not with a stride
  PackedDepthwise packed = {};  ///< of inference, in place of weight and bias; with the residual
};

/// PVT v2's feed-forward: PEG without residual between two products.
struct PegFeedForward {
  Var fc1_weight, fc1_bias;  ///< (hidden, C), (hidden)
  Peg peg;
  Var fc2_weight, fc2_bias;  ///< (C, hidden), (C)
};

// ---- lowering

/// tokens (B, prefix + h w, C) -> act of it (B, prefix + h' w', C), (h', w') = peg_grid; the prefix as it
/// came. Throws Error when shapes do not fit, and on a residual with a stride.
Var peg(const Context& ctx, const Peg& peg, const Var& tokens, Grid grid, std::int64_t prefix = 0,
        Activation act = Activation::none);

/// attended + PEG(v), both (B, prefix + h w, C); the prefix gets nothing. For a PEG without residual.
Var peg_in_attention(const Context& ctx, const Peg& peg, const Var& attended, const Var& v, Grid grid,
                     std::int64_t prefix = 0);

/// tokens (B, prefix + h w, C) -> the same; the prefix passes the convolution by.
Var peg_feed_forward(const Context& ctx, const PegFeedForward& ff, const Var& tokens, Grid grid,
                     std::int64_t prefix = 0);

// ---- the equation, as it stands

/// Channel c of the token at row r, column q; x (h w, C), weight (C, k, k).
template <class T>
T peg_number(const std::vector<T>& x, const T* weight, const T* bias, Grid grid, std::int64_t C,
             std::int64_t k, std::int64_t stride, bool residual, std::int64_t r, std::int64_t q,
             std::int64_t c) {
  T sum = bias[c];
  for (std::int64_t u = -(k / 2); u <= k / 2; ++u)
    for (std::int64_t v = -(k / 2); v <= k / 2; ++v) {
      const std::int64_t y = stride * r + u, z = stride * q + v;
      if (y < 0 || z < 0 || y >= grid.rows || z >= grid.columns) continue;
      sum += weight[(c * k + u + k / 2) * k + v + k / 2] *
             x[static_cast<std::size_t>((y * grid.columns + z) * C + c)];
    }
  return residual ? sum + x[static_cast<std::size_t>((r * grid.columns + q) * C + c)] : sum;
}

}  // namespace locant
