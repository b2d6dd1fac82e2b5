#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <complex>
#include <functional>
#include <span>
#include <vector>

#include "core/rng.h"
#include "core/tensor.h"

namespace locant::testing {

/// Uniform in [-scale, scale], the same for the same seed.
inline Tensor random_tensor(const Shape& shape, std::uint64_t seed, float scale = 1.0f) {
  Tensor out(shape);
  Rng rng(seed);
  for (float& x : out.values()) x = scale * (2.0f * rng.uniform() - 1.0f);
  return out;
}

inline std::vector<double> to_double(const Tensor& t) { return {t.values().begin(), t.values().end()}; }

/// Worst |a - b| in units of the root mean square of b (1 where b is all zero).
inline double worst_error(std::span<const float> a, std::span<const double> b) {
  if (a.size() != b.size()) return HUGE_VAL;
  double square = 0, worst = 0;
  for (const double x : b) square += x * x;
  const double unit = square > 0 ? std::sqrt(square / static_cast<double>(b.size())) : 1.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(static_cast<double>(a[i]) - b[i]) / unit;
    if (!(error <= worst)) worst = error;  // keeps a NaN
  }
  return worst;
}

inline void expect_close(const Tensor& got, const std::vector<double>& want, double tolerance,
                         const char* what) {
  EXPECT_LE(worst_error(got.values(), want), tolerance) << what << " of shape " << got.shape().str();
}

/// Exact gradient of a real function by the complex step: d f / d x_i = Im f(x + i h e_i) / h. `f` takes the
/// vector of complex inputs and gives a complex scalar; it must be analytic (compare real parts in max).
template <class F>
std::vector<double> complex_step_gradient(F&& f, const std::vector<double>& x) {
  constexpr double kStep = 1e-50;
  std::vector<std::complex<double>> z(x.begin(), x.end());
  std::vector<double> gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    z[i] = {x[i], kStep};
    gradient[i] = f(z).imag() / kStep;
    z[i] = x[i];
  }
  return gradient;
}

/// Central differences in float64, for functions that are not analytic or have no complex form (erf).
template <class F>
std::vector<double> difference_gradient(F&& f, std::vector<double> x, double step = 1e-5) {
  std::vector<double> gradient(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double kept = x[i];
    x[i] = kept + step;
    const double high = f(x);
    x[i] = kept - step;
    const double low = f(x);
    x[i] = kept;
    gradient[i] = (high - low) / (2 * step);
  }
  return gradient;
}

}  // namespace locant::testing
