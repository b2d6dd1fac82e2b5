#include "position/sinusoidal_1d.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/golden_numbers.h"

namespace locant {
namespace sinusoidal_1d_test {

// The spec's worked example: frequencies 1 and 0.01.
TEST(Sinusoidal1d, InterleavedByHand) {
  const Tensor pe = sinusoidal_1d(SinusoidLayout::interleaved, 4, 4);
  ASSERT_EQ(pe.shape(), (Shape{1, 4, 4}));
  testing::expect_golden(pe, {0, 1, 0, 1, 0.841471, 0.540302, 0.010000, 0.999950, 0.909297, -0.416147,
                              0.019999, 0.999800, 0.141120, -0.989992, 0.029996, 0.999550});
}

TEST(Sinusoidal1d, HalvesAreTheSameChannelsInBlocks) {
  constexpr std::int64_t kN = 6, kC = 8;
  const Tensor a = sinusoidal_1d(SinusoidLayout::interleaved, kN, kC),
               b = sinusoidal_1d(SinusoidLayout::halves, kN, kC);
  for (std::int64_t n = 0; n < kN; ++n)
    for (std::int64_t t = 0; t < kC / 2; ++t) {
      EXPECT_EQ(b[n * kC + t], a[n * kC + 2 * t]);
      EXPECT_EQ(b[n * kC + kC / 2 + t], a[n * kC + 2 * t + 1]);
    }
}

// Frequencies 1, 0.0464, 0.00215 and 0.0001: both ends are hit exactly.
TEST(Sinusoidal1d, TensorToTensorReachesTheTemperature) {
  const Tensor pe = sinusoidal_1d(SinusoidLayout::t2t, 2, 9);
  for (int t = 0; t < 4; ++t) {
    const double w = std::pow(10.0, -4.0 * t / 3.0);
    EXPECT_NEAR(pe[9 + t], std::sin(w), 1e-7) << t;
    EXPECT_NEAR(pe[9 + 4 + t], std::cos(w), 1e-7) << t;
  }
  EXPECT_EQ(pe[8], 0.0f);  // an odd width ends in a zero
  EXPECT_EQ(pe[17], 0.0f);
  const Tensor narrow = sinusoidal_1d(SinusoidLayout::t2t, 2, 3);  // one frequency alone
  testing::expect_golden(narrow, {0, 1, 0, 0.841471, 0.540302, 0});
}

TEST(Sinusoidal1d, OddWidthsOfTheOthersEndInASine) {
  const double w = std::pow(10000.0, -4.0 / 5.0);
  EXPECT_NEAR(sinusoidal_1d(SinusoidLayout::interleaved, 2, 5)[9], std::sin(w), 1e-7);
  EXPECT_NEAR(sinusoidal_1d(SinusoidLayout::halves, 2, 5)[5 + 2], std::sin(w), 1e-7);
  EXPECT_NEAR(sinusoidal_1d(SinusoidLayout::halves, 2, 5)[5 + 3], std::cos(1), 1e-7);
}

TEST(Sinusoidal1d, AnyPositions) {
  const Tensor pe = sinusoidal_1d(SinusoidLayout::interleaved, std::vector<double>{-2, 0.5}, 2);
  testing::expect_golden(pe, {-0.909297, -0.416147, 0.479426, 0.877583});
  const Tensor warm = sinusoidal_1d(SinusoidLayout::interleaved, 2, 4, 100.0);
  EXPECT_NEAR(warm[6], std::sin(0.1), 1e-7);
  EXPECT_EQ(sinusoidal_1d(SinusoidLayout::halves, 0, 4).shape(), (Shape{1, 0, 4}));
}

TEST(Sinusoidal1d, RefusesWhatDoesNotFit) {
  EXPECT_THROW(sinusoidal_1d(SinusoidLayout::halves, -1, 4), Error);
  EXPECT_THROW(sinusoidal_1d(SinusoidLayout::halves, std::int64_t{1} << 60, 4), Error);
  EXPECT_THROW(sinusoidal_1d(SinusoidLayout::halves, 4, 0), Error);
  EXPECT_THROW(sinusoidal_1d(SinusoidLayout::halves, 4, 4, 0.0), Error);
  EXPECT_THROW(kSinusoidal1d.make({.query = {1, 1, 4}, .key = {1, 1, 5}}), Error);
  EXPECT_THROW(kSinusoidal1d.make({.query = {1, 1, 4}, .key = {1, 1, 4}, .variant = "other"}), Error);
}

}  // namespace sinusoidal_1d_test
}  // namespace locant
