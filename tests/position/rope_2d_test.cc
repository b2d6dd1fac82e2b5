#include "position/rope_2d.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/golden_numbers.h"

namespace locant {
namespace rope_2d_test {

constexpr double kPi = std::numbers::pi;

void expect_angles(const Rope2d& rope, Grid grid, std::int64_t y, std::int64_t x,
                   const std::vector<double>& want) {
  const auto pairs = static_cast<std::int64_t>(want.size());
  for (std::int64_t p = 0; p < pairs; ++p)
    EXPECT_NEAR(rope_2d_angle(rope, grid.rows, grid.columns, 2 * pairs, y, x, p),
                want[static_cast<std::size_t>(p)], 1e-12)
        << "pair " << p;
}

// Spec: x = 1, y = 2.
TEST(Rope2d, GoldenRowOfRopeVit) {
  const RotaryTable table = rope_2d_table({}, 3, 2, 8);
  testing::expect_golden(table.angles.value(), {1, 0.1, 2, 0.2}, 5 * 4);
  Tensor q = Tensor::zeros({1, 6, 8});
  for (int c = 0; c < 8; ++c) q[5 * 8 + c] = std::cos(0.37f * static_cast<float>(c));
  const Tensor y = rotate({}, Var(q), 1, table, Rope2d{}.pairing()).value();
  testing::expect_golden(
      y, {-0.244224, 1.345210, 0.690387, 0.516164, 0.212861, 0.197133, -0.423297, -0.954820}, 5 * 8);
}

TEST(Rope2d, OtherKindsByHand) {
  expect_angles({.kind = Rope2dKind::sam2}, {1, 3, 2}, 2, 1, {1, 0.01, 2, 0.02});
  expect_angles({.kind = Rope2dKind::eva02}, {1, 3, 2}, 2, 1, {2, 0.02, 1, 0.01});
  // A grid twice as high and half as wide as that of pre-training.
  expect_angles({.kind = Rope2dKind::eva02, .reference_rows = 4, .reference_columns = 6}, {1, 8, 3}, 5, 1,
                {2.5, 0.025, 2, 0.02});
  // Centres of a side of 4 lie at -3/4, -1/4, 1/4 and 3/4 of 2 pi; that of a side of 1 at 0.
  expect_angles({.kind = Rope2dKind::dinov3}, {1, 4, 1}, 3, 0, {1.5 * kPi, 0.15 * kPi, 0, 0});
}

// Frequencies of the axial kind, given as learned ones, turn the same way.
TEST(Rope2d, AxialIsASpecialCaseOfMixed) {
  constexpr std::int64_t kH = 2, kD = 8;
  Tensor freqs = Tensor::zeros({2, kH * kD / 2});
  for (std::int64_t h = 0; h < kH; ++h)
    for (std::int64_t p = 0; p < kD / 2; ++p)
      freqs[(p < 2 ? 0 : kH * kD / 2) + h * kD / 2 + p] = p % 2 == 0 ? 1.0f : 0.1f;
  const Tensor mixed = rope_mixed_table({}, Var(freqs), 3, 2, kH).angles.value(),
               axial = rope_2d_table({}, 3, 2, kD).angles.value();
  ASSERT_EQ(mixed.shape(), (Shape{6, kH, kD / 2}));
  for (std::int64_t n = 0; n < mixed.numel(); ++n)
    EXPECT_NEAR(mixed[n], axial[n / (kH * kD / 2) * (kD / 2) + n % (kD / 2)], 1e-6);
}

// The official start: sizes 10^(-4j / D), the second half at right angles to the first, a direction a head.
TEST(Rope2d, MixedStart) {
  constexpr std::int64_t kH = 3, kD = 8, kWidth = kH * kD / 2;
  const Tensor f = rope_mixed_init(kH, kD, 5);
  ASSERT_EQ(f.shape(), (Shape{2, kWidth}));
  for (std::int64_t h = 0; h < kH; ++h)
    for (std::int64_t j = 0; j < 2; ++j) {
      const std::int64_t a = h * kD / 2 + j, b = a + 2;
      EXPECT_NEAR(std::hypot(f[a], f[kWidth + a]), std::pow(10.0, -0.5 * static_cast<double>(j)), 1e-6);
      EXPECT_NEAR(f[b], -f[kWidth + a], 1e-6);
      EXPECT_NEAR(f[kWidth + b], f[a], 1e-6);
    }
  EXPECT_GT(std::abs(f[0] - f[kD / 2]), 1e-3);
}

TEST(Rope2d, RefusesWhatDoesNotFit) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  EXPECT_THROW(rope_2d_table({}, 3, 2, 6), Error);
  EXPECT_THROW(rope_2d_table({}, 0, 2, 8), Error);
  EXPECT_THROW(rope_2d_table({}, -3, -2, 8), Error);
  EXPECT_THROW(rope_2d_table({}, kHuge, kHuge, 8), Error);
  EXPECT_THROW(rope_2d_table({.kind = Rope2dKind::eva02, .reference_rows = 4}, 3, 2, 8), Error);
  EXPECT_THROW(rope_mixed_table({}, Var(Tensor::zeros({2, 7})), 3, 2, 2), Error);
  EXPECT_THROW(rope_mixed_table({}, Var(Tensor::zeros({3, 8})), 3, 2, 2), Error);
  EXPECT_THROW(rope_mixed_table({}, Var(Tensor::zeros({2, 8})), kHuge, kHuge, 2), Error);
  EXPECT_THROW(rope_mixed_init(2, 6, 1), Error);
  EXPECT_THROW(kRope2d.make({.query = {2, 2, 2}, .key = {2, 2, 2}}), Error);
  EXPECT_THROW(kRope2d.make({.query = {1, 2, 2}, .key = {1, 2, 2}, .variant = "other"}), Error);
}

}  // namespace rope_2d_test
}  // namespace locant
