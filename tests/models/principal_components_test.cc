#include "models/principal_components.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/rng.h"

namespace locant {
namespace principal_components_test {

/// Rows around (1, 2, ..., C) with standard deviations 8, 4, 2, 1, ... along the axes of an orthonormal
/// basis.
Tensor cloud(const std::vector<std::vector<double>>& axes, std::int64_t rows) {
  const auto C = static_cast<std::int64_t>(axes.front().size());
  Tensor out({rows, C});
  Rng rng(5);
  for (std::int64_t n = 0; n < rows; ++n) {
    for (std::int64_t c = 0; c < C; ++c) out[n * C + c] = static_cast<float>(c + 1);
    for (std::size_t a = 0; a < axes.size(); ++a) {
      const double along = 8.0 / (1 << a) * rng.normal();
      for (std::int64_t c = 0; c < C; ++c)
        out[n * C + c] += static_cast<float>(along * axes[a][static_cast<std::size_t>(c)]);
    }
  }
  return out;
}

const double r = std::sqrt(0.5);
const std::vector<std::vector<double>> kAxes = {
    {r, r, 0, 0}, {r, -r, 0, 0}, {0, 0, 0.6, -0.8}, {0, 0, 0.8, 0.6}};

TEST(PrincipalComponents, FindsTheAxesOfACloud) {
  const Tensor rows = cloud(kAxes, 20000);
  const PrincipalComponents found = principal_components({rows.slice(0, 5000), rows.slice(5000, 20000)}, 3);
  ASSERT_EQ(found.components.size(), 3u);
  for (std::size_t c = 0; c < 4; ++c) EXPECT_NEAR(found.mean[c], static_cast<double>(c + 1), 0.2);
  // Largest weight positive: (r, r), (r, -r) up to which of the equal ones is larger, (-0.6, 0.8).
  for (std::size_t k = 0; k < 3; ++k) {
    double along = 0.0;
    for (std::size_t c = 0; c < 4; ++c) along += found.components[k][c] * kAxes[k][c];
    EXPECT_GT(std::abs(along), 0.999) << k;
  }
  EXPECT_GT(found.components[2][3], 0.7);
  EXPECT_LT(found.components[2][2], 0.0);
}

TEST(PrincipalComponents, ProjectionHasTheSpread) {
  const Tensor rows = cloud(kAxes, 20000);
  const Tensor projected = project(principal_components({rows}, 3), rows);
  ASSERT_EQ(projected.shape(), Shape({20000, 3}));
  for (int k = 0; k < 3; ++k) {
    double mean = 0.0, square = 0.0;
    for (std::int64_t n = 0; n < 20000; ++n) {
      mean += projected[n * 3 + k] / 20000.0;
      square += static_cast<double>(projected[n * 3 + k]) * projected[n * 3 + k] / 20000.0;
    }
    EXPECT_NEAR(mean, 0.0, 1e-3);
    EXPECT_NEAR(std::sqrt(square), 8.0 / (1 << k), 0.1 * 8.0 / (1 << k));
  }
}

TEST(PrincipalComponents, BeyondTheRankIsZero) {
  // All rows on one line.
  Tensor rows({50, 4});
  for (std::int64_t n = 0; n < 50; ++n)
    for (std::int64_t c = 0; c < 4; ++c) rows[n * 4 + c] = static_cast<float>(n * (c + 1));
  const PrincipalComponents found = principal_components({rows}, 3);
  EXPECT_NEAR(found.components[0][3], 4.0 / std::sqrt(30.0), 1e-5);
  const Tensor projected = project(found, rows);
  for (std::int64_t n = 0; n < 50; ++n)
    for (int k = 1; k < 3; ++k) EXPECT_NEAR(projected[n * 3 + k], 0.0, 0.05);  // of 270 along the line
  const PrincipalComponents flat = principal_components({Tensor::full({5, 4}, 2.0f)}, 2);
  for (const auto& component : flat.components)
    for (const double value : component) EXPECT_EQ(value, 0.0);
}

TEST(PrincipalComponents, RefusesWhatMakesNoSense) {
  EXPECT_THROW(principal_components({}, 1), Error);
  EXPECT_THROW(principal_components({Tensor::zeros({3, 4})}, 5), Error);
  EXPECT_THROW(principal_components({Tensor::zeros({3, 4})}, 0), Error);
  EXPECT_THROW(principal_components({Tensor::zeros({3, 4}), Tensor::zeros({3, 5})}, 1), Error);
  EXPECT_THROW(principal_components({Tensor::zeros({0, 4})}, 1), Error);
}

}  // namespace principal_components_test
}  // namespace locant
