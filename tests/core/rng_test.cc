#include "core/rng.h"

#include <gtest/gtest.h>

#include <cmath>

namespace locant {
namespace rng_test {

TEST(Rng, SplitMixMatchesThePublishedSequence) {
  // First outputs for seed 1234567 of the reference program: state advances by the golden ratio.
  std::uint64_t state = 1234567;
  const std::uint64_t golden = 0x9E3779B97F4A7C15ULL;
  EXPECT_EQ(splitmix64(state), 6457827717110365317ULL);
  EXPECT_EQ(splitmix64(state + golden), 3203168211198807973ULL);
}

TEST(Rng, ResumesFromItsCounter) {
  Rng a(7);
  for (int i = 0; i < 10; ++i) a.next();
  Rng b(7, a.counter());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(a.next(), b.next());
}

TEST(Rng, StaysInRangeWithTheRightMoments) {
  Rng rng(3);
  double sum = 0, square = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const float u = rng.uniform();
    ASSERT_GE(u, 0.0f);
    ASSERT_LT(u, 1.0f);
    ASSERT_LT(rng.below(7), 7u);
    const double x = rng.normal();
    sum += x;
    square += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0.0, 0.02);
  EXPECT_NEAR(square / kCount, 1.0, 0.03);
}

}  // namespace rng_test
}  // namespace locant
