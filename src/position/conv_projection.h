#pragma once

// Convolutional projection: Wu et al. 2021, "CvT": before each of the products Wq, Wk, Wv
//
//   x' = BN(DWConv(X)), k x k, zeros around; stride 1 for q, 2 for k and v       "dw_bn", all released models
//   x' = mean of the k x k places, stride 2, for k and v alone; q as it is                          "avg"
//
// X the tokens as a picture (C, h, w). Enters: q, k and v. Special tokens go to the products as they are.
// Scale: (H D)^-0.5, the whole width. Parameters of each of q, k, v: conv.weight (C, 1, k, k) without bias,
// bn.weight, bn.bias, bn.running_mean, bn.running_var (C) behind conv_proj_q, conv_proj_k, conv_proj_v.
// Starts as PyTorch's convolution. Resize rule: none. Gradient: by tape through conv2d and batch norm. Cost:
// k^2 multiply-adds a number that is left. Models: CvT.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "position/shared/token_grid.h"

namespace locant {

// ---- index arithmetic

/// Places along an axis of n with a kernel k (odd), k / 2 zeros on either side, and a stride. The mean also
/// has one that hangs over the end, as long as it does not begin behind the n-th place (PyTorch's ceil_mode).
constexpr std::int64_t projected_extent(std::int64_t n, std::int64_t stride, bool mean) {
  return (mean ? (n - 1 + stride - 1) / stride : (n - 1) / stride) + 1;
}
constexpr Grid projected_grid(Grid grid, std::int64_t stride, bool mean) {
  return {1, projected_extent(grid.rows, stride, mean), projected_extent(grid.columns, stride, mean)};
}
/// Places of a row of the kernel that the mean at r counts: those up to the zeros behind the end.
constexpr std::int64_t counted_places(std::int64_t n, std::int64_t k, std::int64_t stride, std::int64_t r) {
  return std::min(r * stride - k / 2 + k, n + k / 2) - (r * stride - k / 2);
}

// ---- parameters

struct ConvProjection {
  static constexpr const char* kWeight = "conv.weight";
  Var weight;             ///< (C, 1, k, k), k odd; undefined for the mean
  BatchNormNumbers norm;  ///< `bn`
  std::int64_t kernel = 3, stride = 1;
  PackedDepthwise packed = {};  ///< of inference, in place of weight and norm
};

/// The paper's scale of q.k.
inline float conv_projection_scale(std::int64_t width) { return 1.0f / std::sqrt(static_cast<float>(width)); }

// ---- lowering

/// tokens (B, prefix + h w, C) -> (B, prefix + h' w', C), (h', w') = projected_grid. Throws Error when shapes
/// do not fit.
Var conv_projection(const Context& ctx, const ConvProjection& projection, const Var& tokens, Grid grid,
                    std::int64_t prefix = 0);

// ---- the equation, as it stands

/// Channel c at row r, column q before the norm; x (h w, C), weight (C, k, k) or null for the mean.
template <class T>
T projected_number(const std::vector<T>& x, const T* weight, Grid grid, std::int64_t C, std::int64_t k,
                   std::int64_t stride, std::int64_t r, std::int64_t q, std::int64_t c) {
  T sum{};
  double places = 0;
  for (std::int64_t u = -(k / 2); u <= k / 2; ++u)
    for (std::int64_t v = -(k / 2); v <= k / 2; ++v) {
      const std::int64_t y = stride * r + u, z = stride * q + v;
      if (y < grid.rows + k / 2 && z < grid.columns + k / 2) ++places;
      if (y < 0 || z < 0 || y >= grid.rows || z >= grid.columns) continue;
      const T number = x[static_cast<std::size_t>((y * grid.columns + z) * C + c)];
      sum += weight == nullptr ? number : weight[(c * k + u + k / 2) * k + v + k / 2] * number;
    }
  return weight == nullptr ? sum / places : sum;
}

}  // namespace locant
