#pragma once

// Fixed 2-D sine-cosine position embedding of SimpleViT: Beyer et al. 2022, after Vaswani et al. 2017.
//   pe(y, x) = [ sin(x w) | cos(x w) | sin(y w) | cos(y w) ]
//   w_i = T^(-i / (m - 1)),  i = 0 .. m - 1,  m = C / 4
// Enters: tokens. Shapes: (1, rows * columns, C), row-major, x the column and y the row from 0. Used by
// SimpleViT. No parameters, no gradient. Cost: one addition per token and channel; the table is made once per
// grid. Not this file: MoCo v3, MAE and timm divide by m instead of m - 1 and order the blocks otherwise.

#include <cmath>
#include <cstdint>
#include <memory>

#include "core/tensor.h"

namespace locant {

/// w_i; the first is 1, the last 1 / T.
inline double sincos_frequency(std::int64_t i, std::int64_t m, double temperature) {
  return std::pow(temperature, -static_cast<double>(i) / static_cast<double>(m - 1));
}

/// The embedding of every token of a grid. Throws Error unless C is a multiple of 4 and at least 8 (C = 4
/// divides by zero in the exponent), and the temperature is above 0.
Tensor sincos_2d(std::int64_t rows, std::int64_t columns, std::int64_t C, double temperature);

/// sincos_2d of the latest grid, kept. Safe to call from several threads.
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

/// The equation for one channel of one token, as an oracle.
template <class T>
T sincos_value(std::int64_t row, std::int64_t column, std::int64_t channel, std::int64_t C, T temperature) {
  using std::cos, std::pow, std::sin;
  const std::int64_t m = C / 4, block = channel / m;
  const T angle = T(block < 2 ? column : row) * pow(temperature, -T(channel % m) / T(m - 1));
  return block % 2 == 0 ? sin(angle) : cos(angle);
}

}  // namespace locant
