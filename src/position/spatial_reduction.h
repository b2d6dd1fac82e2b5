#pragma once

// Spatial reduction attention (SRA): Wang et al. 2021, "Pyramid Vision Transformer":
//
//   X' = LN(Conv(X)),   out = softmax(q (X' Wk)^T / sqrt(D)) X' Wv        kernel and stride of R x R
//
// Enters: keys and values, before their products; queries stay. X the tokens as a picture (C, h, w); rows and
// columns that R does not divide are left out. Parameters: sr.weight (C, C, R, R), sr.bias (C), norm.weight,
// norm.bias (C), eps 1e-5, all as in the official checkpoints; R = 1: none of them. Starts as PyTorch's
// convolution. Resize rule: none. Gradient: by tape through conv2d and layer norm. Cost: h w C^2
// multiply-adds, R^2 fewer scores. Models: PVT, Twins (global_subsampled).

#include <cstdint>
#include <vector>

#include "position/shared/token_grid.h"

namespace locant {

// ---- index arithmetic

/// Keys that are left of a grid.
constexpr Grid reduced_grid(Grid grid, std::int64_t ratio) {
  return {1, grid.rows / ratio, grid.columns / ratio};
}

// ---- parameters

struct SpatialReduction {
  static constexpr const char* kWeight = "sr.weight";
  static constexpr const char* kBias = "sr.bias";
  static constexpr const char* kNormWeight = "norm.weight";
  static constexpr const char* kNormBias = "norm.bias";
  Var weight, bias;            ///< (C, C, R, R), (C)
  Var norm_weight, norm_bias;  ///< (C)
  float eps = 1e-5f;
  PackedLinear packed = {};  ///< of inference, in place of weight and bias: (C, R R C), channels last
  std::int64_t ratio = 1;    ///< of what is packed
};

// ---- lowering

/// tokens (B, h w, C) -> Conv(X) (B, C, h / R, w / R). Throws Error when shapes do not fit, or nothing is
/// left.
Var reduced_images(const Context& ctx, const SpatialReduction& sr, const Var& tokens, Grid grid);
/// The same by what is packed: Conv(X) (B, h' w', C).
Var reduced_by_product(const SpatialReduction& sr, const Var& tokens, Grid grid);
/// Of either, LN(X) (B, h' w', C).
Var reduced_tokens(const Context& ctx, const SpatialReduction& sr, const Var& conv);

// ---- the equation, as it stands

/// Channel o of Conv(X) at row r, column q: x (h w, C), weight (C, C, R, R).
template <class T>
T reduced_number(const std::vector<T>& x, const T* weight, const T* bias, Grid grid, std::int64_t C,
                 std::int64_t ratio, std::int64_t r, std::int64_t q, std::int64_t o) {
  T sum = bias[o];
  for (std::int64_t c = 0; c < C; ++c)
    for (std::int64_t u = 0; u < ratio; ++u)
      for (std::int64_t v = 0; v < ratio; ++v)
        sum += weight[((o * C + c) * ratio + u) * ratio + v] *
               x[static_cast<std::size_t>(((r * ratio + u) * grid.columns + q * ratio + v) * C + c)];
  return sum;
}

}  // namespace locant
