#include "position/sincos.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sincos_test {

TEST(SinCos, GoldenRowOfAGridOfTwoByThree) {
  const Tensor pe = sincos_2d(2, 3, 8, 10000.0);  // frequencies 1 and 1e-4
  const float want[] = {0.84147f, 1e-4f, 0.54030f, 1, 0, 0, 1, 1};
  for (int c = 0; c < 8; ++c) EXPECT_NEAR(pe[8 + c], want[c], 5e-6) << "channel " << c;
}

// Row 1, column 2 of 2 x 3: frequencies 1 and 0.01.
TEST(SinCos, BlocksOfTheOtherFlavours) {
  const double want[2][8] = {{std::sin(2), std::sin(0.02), std::cos(2), std::cos(0.02), std::sin(1),
                              std::sin(0.01), std::cos(1), std::cos(0.01)},
                             {std::sin(1), std::sin(0.01), std::sin(2), std::sin(0.02), std::cos(1),
                              std::cos(0.01), std::cos(2), std::cos(0.02)}};
  const Tensor mae = sincos_2d(2, 3, 8, 10000.0, SinCosFlavour::mae),
               timm = sincos_2d(2, 3, 8, 10000.0, SinCosFlavour::timm);
  ASSERT_EQ(mae.shape(), (Shape{1, 6, 8}));
  for (int c = 0; c < 8; ++c) {
    EXPECT_NEAR(mae[5 * 8 + c], want[0][c], 1e-7) << "channel " << c;
    EXPECT_NEAR(timm[5 * 8 + c], want[1][c], 1e-7) << "channel " << c;
  }
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
  EXPECT_THROW(sincos_2d(std::int64_t{1} << 40, std::int64_t{1} << 40, 8, 10000.0), Error);
  EXPECT_THROW(kSincos.make({.query = {1, 2, 2}, .key = {1, 2, 2}, .prefix = 1}), Error);
}

}  // namespace sincos_test
}  // namespace locant
