#include "position/shared/spline.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace locant {
namespace spline_test {

template <class F>
double worst(const std::vector<double>& weights, const std::vector<double>& from,
             const std::vector<double>& to, const F& f) {
  double most = 0;
  for (std::size_t p = 0; p < to.size(); ++p) {
    double sum = 0;
    for (std::size_t n = 0; n < from.size(); ++n) sum += weights[p * from.size() + n] * f(from[n]);
    most = std::max(most, std::abs(sum - f(to[p])));
  }
  return most;
}

const std::vector<double> kFrom = {-4.0, -2.5, -1.0, 0.5, 1.0, 3.0, 4.5};
const std::vector<double> kTo = {-4.0, -3.9, -2.6, -2.0, -0.3, 0.5, 0.9, 2.0, 2.9, 3.1, 4.4, 4.5};

TEST(Spline, CubicKeepsCubics) {
  const auto weights = cubic_spline_weights(kFrom, kTo);
  for (int power = 0; power <= 3; ++power)
    EXPECT_LE(worst(weights, kFrom, kTo, [=](double x) { return std::pow(x, power); }), 1e-10) << power;
}

// A kink of the third derivative is kept where there is a knot, at all points but the second and the last but
// one (and the ends).
TEST(Spline, CubicHasKnotsInside) {
  const auto weights = cubic_spline_weights(kFrom, kTo);
  for (std::size_t n = 1; n + 1 < kFrom.size(); ++n) {
    const double error =
        worst(weights, kFrom, kTo, [&](double x) { return std::pow(std::max(0.0, x - kFrom[n]), 3); });
    if (n >= 2 && n + 3 <= kFrom.size())
      EXPECT_LE(error, 1e-10) << n;
    else
      EXPECT_GE(error, 1e-3) << n;
  }
}

TEST(Spline, FourPointsAreOneCubic) {
  const std::vector<double> from = {0, 1, 3, 4}, to = {0.5, 2, 3.5};
  EXPECT_LE(worst(cubic_spline_weights(from, to), from, to, [](double x) { return x * x * x - 2 * x; }),
            1e-12);
}

TEST(Spline, LinearKeepsLinesAndEndsHold) {
  const auto weights = linear_weights(kFrom, kTo);
  EXPECT_LE(worst(weights, kFrom, kTo, [](double x) { return 3 * x - 1; }), 1e-12);
  EXPECT_LE(worst(weights, kFrom, kTo, [](double x) { return std::max(0.0, x - 1.0); }), 1e-12);
  for (const auto& far : {linear_weights(kFrom, {-9, 9}), cubic_spline_weights(kFrom, {-9, 9})}) {
    EXPECT_NEAR(far[0], 1, 1e-12);
    EXPECT_NEAR(far[2 * kFrom.size() - 1], 1, 1e-12);
  }
  EXPECT_EQ(linear_weights({2.0}, {1.0, 5.0}), (std::vector<double>{1.0, 1.0}));
}

TEST(Spline, RefusesTooFewPoints) {
  EXPECT_THROW(cubic_spline_weights({0, 1, 2}, {1}), Error);
  EXPECT_THROW(linear_weights({}, {1}), Error);
}

}  // namespace spline_test
}  // namespace locant
