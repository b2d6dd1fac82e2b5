#include "position/fourier.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/golden_numbers.h"

namespace locant {
namespace fourier_test {

// 4 channels an axis through a projection that changes nothing. The 1e-6 in the divisor shows where a sine of
// 2 pi or pi is not quite 0.
TEST(Fourier, GoldenCodeOfAGridOfTwoByThree) {
  Tensor identity = Tensor::zeros({8, 8, 1, 1});
  for (int c = 0; c < 8; ++c) identity[9 * c] = 1.0f;
  const Tensor pe = fourier_position({}, Var(identity), Var(Tensor::zeros({8})), 2, 3).value();
  ASSERT_EQ(pe.shape(), (Shape{1, 6, 8}));
  testing::expect_golden(pe, {-0.000003, 1, 0.062790, 0.998027, 0.866026, -0.5, 0.020942, 0.999781}, 3 * 8);
  testing::expect_golden(pe, {0.000002, -1, 0.031411, 0.999507, -0.000002, 1, 0.062790, 0.998027}, 2 * 8);
}

TEST(Fourier, OfficialShapesOnAnyGrid) {
  constexpr std::int64_t kC = 3;
  const Var weight(Tensor::zeros({kC, 2 * kFourierHidden, 1, 1})), flat(weight.value().reshaped({kC, 64}));
  const Var bias(testing::golden_input({kC}));
  for (const Var& w : {weight, flat}) {
    const Tensor pe = fourier_position({}, w, bias, 4, 1).value();
    ASSERT_EQ(pe.shape(), (Shape{1, 4, kC}));
    for (std::int64_t n = 0; n < pe.numel(); ++n) EXPECT_EQ(pe[n], bias.value()[n % kC]);
  }
}

TEST(Fourier, RefusesWhatDoesNotFit) {
  const auto make = [](const Shape& weight, std::int64_t bias, std::int64_t rows = 2) {
    fourier_position({}, Var(Tensor::zeros(weight)), Var(Tensor::zeros({bias})), rows, 3);
  };
  EXPECT_NO_THROW(make({3, 8}, 3));
  EXPECT_THROW(make({3, 6}, 3), Error);
  EXPECT_THROW(make({3, 8, 3, 3}, 3), Error);
  EXPECT_THROW(make({8}, 8), Error);
  EXPECT_THROW(make({3, 8}, 4), Error);
  EXPECT_THROW(make({3, 8}, 3, 0), Error);
  EXPECT_THROW(fourier_position({}, Var(Tensor::zeros({3, 8})), {}, 2, 3), Error);
  EXPECT_THROW(kFourier.make({.query = {1, 2, 3}, .key = {1, 2, 2}}), Error);
}

}  // namespace fourier_test
}  // namespace locant
