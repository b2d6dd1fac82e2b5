#pragma once

// Fixed 2-D sine-cosine position embedding, after Vaswani et al. 2017. With m = C / 4 and i < m:
//
//   simple_vit   [ sin(x w) | cos(x w) | sin(y w) | cos(y w) ], w_i = T^(-i / (m - 1))   Beyer et al. 2022
//   mae          the same with w_i = T^(-i / m)                                          MAE, MoCo v3
//   timm         [ sin(y w) | sin(x w) | cos(y w) | cos(x w) ], w_i = T^(-i / m)         timm build_sincos2d
//   detr         [ y part | x part ], each C / 2: sin, cos, sin, ... of z T^(-2 floor(i / 2) / (C / 2)),
//                z = 2 pi (y + 1) / (rows + 1e-6)                                        DETR, XCiT
//
// Enters: tokens. Shapes: (1, rows * columns, C), row-major, x the column and y the row from 0. No
// parameters, no gradient. Cost: one addition per token and channel; the table is made once per grid.

#include <cmath>
#include <cstdint>
#include <memory>

#include "core/tensor.h"

namespace locant {

enum class SinCosFlavour { simple_vit, mae, timm, detr };

/// w_i of simple_vit; the first is 1, the last 1 / T.
inline double sincos_frequency(std::int64_t i, std::int64_t m, double temperature) {
  return std::pow(temperature, -static_cast<double>(i) / static_cast<double>(m - 1));
}

/// The embedding of every token of a grid. Throws Error unless C is a multiple of 4, for simple_vit at least
/// 8 (C = 4 divides by zero in the exponent), and the temperature is above 0.
Tensor sincos_2d(std::int64_t rows, std::int64_t columns, std::int64_t C, double temperature,
                 SinCosFlavour flavour = SinCosFlavour::simple_vit);

/// sincos_2d (simple_vit) of the latest grid, kept. Safe to call from several threads.
class SinCos2d {
 public:
  SinCos2d() = default;
  /// Throws Error as sincos_2d does.
  SinCos2d(std::int64_t C, double temperature);
  Tensor table(std::int64_t rows, std::int64_t columns) const;

 private:
  struct Cache;
  std::int64_t C_ = 0;
  double temperature_ = 0.0;
  std::shared_ptr<Cache> cache_;
};

}  // namespace locant
