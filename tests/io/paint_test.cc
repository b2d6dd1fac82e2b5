#include "io/paint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "core/error.h"

namespace locant {
namespace paint_test {

using Colour = ColourScale::Colour;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

Colour pixel(const Image& image, std::int64_t y, std::int64_t x) {
  const std::uint8_t* at = image.rgb.data() + (y * image.columns + x) * 3;
  return {at[0], at[1], at[2]};
}

int distance(const Colour& a, const Colour& b) {
  int sum = 0;
  for (std::size_t c = 0; c < 3; ++c) sum += std::abs(a[c] - b[c]);
  return sum;
}

int luma(const Colour& a) { return 299 * a[0] + 587 * a[1] + 114 * a[2]; }

TEST(Paint, CellsAreSquaresOfOneColour) {
  const std::vector<float> numbers = {0, 1, 2, 3, kNaN, 5};
  const ColourScale scale(numbers, Palette::ranks);
  const Image image = paint_matrix(numbers, 2, 3, scale, 4);
  ASSERT_EQ(image.rows, 8);
  ASSERT_EQ(image.columns, 12);
  for (std::int64_t y = 0; y < 8; ++y)
    for (std::int64_t x = 0; x < 12; ++x)
      EXPECT_EQ(pixel(image, y, x), scale(numbers[static_cast<std::size_t>(y / 4 * 3 + x / 4)])) << y << x;
  EXPECT_EQ(pixel(image, 5, 5), ColourScale::kNothing);
}

TEST(Paint, RanksTellNumbersApartAndNeighboursAreAlike) {
  for (const std::size_t count : {2U, 5U, 16U, 64U, 225U}) {
    std::vector<float> numbers(count);
    std::iota(numbers.begin(), numbers.end(), 0.0f);
    const ColourScale scale(numbers, Palette::ranks);
    std::set<Colour> seen;
    for (std::size_t n = 0; n < count; ++n) {
      seen.insert(scale(numbers[n]));
      EXPECT_NE(scale(numbers[n]), ColourScale::kNothing);
      if (n == 0) continue;
      const int apart = distance(scale(numbers[n]), scale(numbers[n - 1]));
      EXPECT_LE(apart, 1400 / static_cast<int>(count - 1) + 3) << count << " " << n;
      EXPECT_GE(apart, std::min(200, 400 / static_cast<int>(count - 1))) << count << " " << n;
    }
    EXPECT_EQ(seen.size(), count);
    EXPECT_GT(distance(scale(numbers.front()), scale(numbers.back())), 200);
  }
}

TEST(Paint, RanksDoNotDependOnGaps) {
  const std::vector<float> near = {0, 1, 2}, far = {-7, 1000, 1e6f, 1000};
  for (std::size_t n = 0; n < 3; ++n)
    EXPECT_EQ(ColourScale(near, Palette::ranks)(near[n]), ColourScale(far, Palette::ranks)(far[n]));
}

TEST(Paint, ZeroIsWhiteAndSignsMirror) {
  const std::vector<float> numbers = {-1, 0, 0.5f, 4, kNaN, -HUGE_VALF};
  const Colour white = {255, 255, 255};
  const ColourScale diverging(numbers, Palette::diverging);
  EXPECT_EQ(diverging(0), white);
  EXPECT_GT(diverging(-4)[2], diverging(-4)[0]);  // blue below, red above
  EXPECT_GT(diverging(4)[0], diverging(4)[2]);
  EXPECT_LT(distance(diverging(-1), white), distance(diverging(-4), white));
  EXPECT_EQ(diverging(-HUGE_VALF), ColourScale::kNothing);
  const ColourScale from_zero(numbers, Palette::from_zero);
  EXPECT_EQ(from_zero(0), white);
  EXPECT_GT(luma(from_zero(1)), luma(from_zero(4)));
}

TEST(Paint, AllAlikeOrNothingStillPaints) {
  for (const float number : {kNaN, 0.0f, 3.0f})
    for (const Palette palette : {Palette::ranks, Palette::diverging, Palette::from_zero}) {
      const std::vector<float> numbers(4, number);
      EXPECT_EQ(paint_matrix(numbers, 2, 2, ColourScale(numbers, palette), 1).rgb.size(), 12U);
    }
}

TEST(Paint, BesideKeepsBothAndWhiteBetween) {
  const std::vector<float> one = {1.0f, -1.0f};
  const ColourScale scale(one, Palette::diverging);
  const Image left = paint_matrix(one, 2, 1, scale, 1), right = paint_matrix(one, 1, 2, scale, 1);
  const Image both = paint_beside(left, right, 3);
  ASSERT_EQ(both.rows, 2);
  ASSERT_EQ(both.columns, 6);
  const Colour white = {255, 255, 255};
  EXPECT_EQ(pixel(both, 0, 0), scale(1));
  EXPECT_EQ(pixel(both, 1, 0), scale(-1));
  EXPECT_EQ(pixel(both, 0, 4), scale(1));
  EXPECT_EQ(pixel(both, 0, 5), scale(-1));
  for (const auto& [y, x] : {std::pair{0, 1}, {0, 3}, {1, 2}, {1, 5}}) EXPECT_EQ(pixel(both, y, x), white);
}

TEST(Paint, RefusesWhatDoesNotFit) {
  const std::vector<float> numbers(6);
  const ColourScale scale(numbers, Palette::ranks);
  EXPECT_THROW(paint_matrix(numbers, 2, 2, scale, 1), Error);
  EXPECT_THROW(paint_matrix(numbers, 2, 3, scale, 0), Error);
  EXPECT_THROW(paint_matrix(numbers, -2, -3, scale, 1), Error);
  EXPECT_THROW(paint_matrix(numbers, 2, 3, scale, 4096), Error);
  EXPECT_THROW(paint_matrix(numbers, 2, 3, scale, std::numeric_limits<std::int64_t>::max()), Error);
  const Image small = paint_matrix(numbers, 2, 3, scale, 1);
  EXPECT_THROW(paint_beside(small, small, 1 << 25), Error);
  EXPECT_THROW(paint_beside(small, small, -1), Error);
}

}  // namespace paint_test
}  // namespace locant
