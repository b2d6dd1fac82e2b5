#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/tensor.h"

namespace locant::testing {

/// Input of golden values: element k, in memory order, is cos(0.37 k).
inline Tensor golden_input(const Shape& shape) {
  Tensor out(shape);
  for (std::int64_t k = 0; k < out.numel(); ++k)
    out[k] = static_cast<float>(std::cos(0.37 * static_cast<double>(k)));
  return out;
}

/// Their parameter tensor number s: element k is 0.5 sin(1.3 k + 0.1 s).
inline Tensor golden_parameter(const Shape& shape, int s) {
  Tensor out(shape);
  for (std::int64_t k = 0; k < out.numel(); ++k)
    out[k] = static_cast<float>(0.5 * std::sin(1.3 * static_cast<double>(k) + 0.1 * s));
  return out;
}

/// `got` from element `first` on is `want`, given to 6 decimals.
inline void expect_golden(const Tensor& got, const std::vector<double>& want, std::int64_t first = 0) {
  ASSERT_LE(first + static_cast<std::int64_t>(want.size()), got.numel());
  for (std::size_t k = 0; k < want.size(); ++k)
    EXPECT_NEAR(got[first + static_cast<std::int64_t>(k)], want[k], 2e-6)
        << "element " << first << " + " << k;
}

}  // namespace locant::testing
