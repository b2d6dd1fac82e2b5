#pragma once

// Global sub-sampled attention (GSA): Chu et al. 2021, "Twins": every query sees one
// representative of each window of wh x ww tokens, which locally grouped attention has mixed before:
//
//   X' = LN(S(X)),   out = softmax(q (X' Wk)^T / sqrt(D)) X' Wv
//
// S, a stride of a window: a convolution (the paper's choice, and the code's: position/spatial_reduction.h),
// a depthwise one, or the mean. Enters: keys and values, before their products. Rows and columns beyond the
// last whole window are left out. Parameters: sr.weight (C, C, wh, ww) or (C, 1, wh, ww), sr.bias (C),
// norm.weight, norm.bias (C), eps 1e-5; for the mean the norm alone. Resize rule: none. Gradient: by tape.
// Cost: N C^2, N C or no multiply-adds, wh ww fewer scores. Models: Twins-SVT.

#include <cstdint>
#include <vector>

#include "position/shared/token_grid.h"

namespace locant {

// ---- index arithmetic

/// Windows of a grid, each with one key.
constexpr Grid subsampled_grid(Grid grid, std::int64_t window_rows, std::int64_t window_columns) {
  return {1, grid.rows / window_rows, grid.columns / window_columns};
}

// ---- parameters

enum class Subsampling { convolution, depthwise, mean };

struct GlobalSubsampled {
  static constexpr const char* kWeight = "sr.weight";
  static constexpr const char* kBias = "sr.bias";
  static constexpr const char* kNormWeight = "norm.weight";
  static constexpr const char* kNormBias = "norm.bias";
  Subsampling by = Subsampling::convolution;
  std::int64_t window_rows = 1, window_columns = 1;
  Var weight = {}, bias = {};            ///< undefined for the mean
  Var norm_weight = {}, norm_bias = {};  ///< (C)
  float eps = 1e-5f;
};

// ---- lowering

/// tokens (B, h w, C) -> (B, windows, C). Throws Error when shapes do not fit, or no window does.
Var subsampled_tokens(const Context& ctx, const GlobalSubsampled& gsa, const Var& tokens, Grid grid);

// ---- the equation, as it stands

/// Channel o of S(X) of the window at row r, column q; x (h w, C).
template <class T>
T subsampled_number(Subsampling by, const std::vector<T>& x, const T* weight, const T* bias, Grid grid,
                    std::int64_t C, std::int64_t wh, std::int64_t ww, std::int64_t r, std::int64_t q,
                    std::int64_t o) {
  T sum = by == Subsampling::mean ? T(0.0) : bias[o];
  for (std::int64_t u = 0; u < wh; ++u)
    for (std::int64_t v = 0; v < ww; ++v) {
      const T* token = x.data() + ((r * wh + u) * grid.columns + q * ww + v) * C;
      if (by == Subsampling::mean) sum += token[o] / static_cast<double>(wh * ww);
      if (by == Subsampling::depthwise) sum += weight[(o * wh + u) * ww + v] * token[o];
      for (std::int64_t c = 0; c < C && by == Subsampling::convolution; ++c)
        sum += weight[((o * C + c) * wh + u) * ww + v] * token[c];
    }
  return sum;
}

}  // namespace locant
