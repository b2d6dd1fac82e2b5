#include "position/sincos.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace {

TEST(SinCos, GoldenRowOfAGridOfTwoByThree) {
  const Tensor pe = sincos_2d(2, 3, 8, 10000.0);  // frequencies 1 and 1e-4
  const float want[] = {0.84147f, 1e-4f, 0.54030f, 1, 0, 0, 1, 1};
  for (int c = 0; c < 8; ++c) EXPECT_NEAR(pe[8 + c], want[c], 5e-6) << "channel " << c;
}

TEST(SinCos, TableIsTheEquationAtEveryTokenAndChannel) {
  constexpr std::int64_t kRows = 3, kColumns = 5, kC = 12;
  const Tensor pe = sincos_2d(kRows, kColumns, kC, 100.0);
  ASSERT_EQ(pe.shape(), (Shape{1, kRows * kColumns, kC}));
  for (std::int64_t y = 0; y < kRows; ++y)
    for (std::int64_t x = 0; x < kColumns; ++x)
      for (std::int64_t c = 0; c < kC; ++c)
        EXPECT_NEAR(pe[(y * kColumns + x) * kC + c], sincos_value<double>(y, x, c, kC, 100.0), 1e-7);
}

TEST(SinCos, LastFrequencyIsOneOverTheTemperature) {
  EXPECT_DOUBLE_EQ(sincos_frequency(0, 16, 10000.0), 1.0);
  EXPECT_NEAR(sincos_frequency(15, 16, 10000.0), 1e-4, 1e-18);
}

TEST(SinCos, KeptTableFollowsTheGrid) {
  const SinCos2d position(8, 10000.0);
  const Tensor wide = position.table(2, 3), again = position.table(2, 3), tall = position.table(3, 2);
  EXPECT_EQ(wide.data(), again.data());
  testing::expect_close(tall, testing::to_double(sincos_2d(3, 2, 8, 10000.0)), 0.0, "another grid");
  testing::expect_close(position.table(3, 4), testing::to_double(sincos_2d(3, 4, 8, 10000.0)), 0.0,
                        "a wider one");
}

TEST(SinCos, WidthsWithoutAFormulaAreErrors) {
  EXPECT_THROW(sincos_2d(2, 2, 4, 10000.0), Error);  // the exponent divides by zero
  EXPECT_THROW(sincos_2d(2, 2, 10, 10000.0), Error);
  EXPECT_THROW(sincos_2d(0, 2, 8, 10000.0), Error);
  EXPECT_THROW(SinCos2d(8, 0.0), Error);
}

}  // namespace
}  // namespace locant
