#include "position/rope.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace rope_test {

using testing::random_tensor;

Tensor turned(const std::vector<float>& row, std::int64_t position, std::int64_t d_rot, Pairing pairing) {
  const auto D = static_cast<std::int64_t>(row.size());
  return rotate({}, Var(Tensor::from({1, 1, D}, row)), 1, rope_table(1, d_rot, position), pairing).value();
}

void expect_row(const Tensor& got, const std::vector<double>& want) {
  ASSERT_EQ(got.numel(), static_cast<std::int64_t>(want.size()));
  for (std::size_t c = 0; c < want.size(); ++c)
    EXPECT_NEAR(got[static_cast<std::int64_t>(c)], want[c], 1e-6) << "channel " << c;
}

TEST(Rope, GoldenRowsOfPositionOne) {
  const double c0 = std::cos(1), s0 = std::sin(1), c1 = std::cos(0.01), s1 = std::sin(0.01);
  expect_row(turned({1, 0, 1, 0}, 1, 4, Pairing::neighbours), {c0, s0, c1, s1});
  expect_row(turned({1, 1, 0, 0}, 1, 4, Pairing::halves), {c0, c1, s0, s1});
}

TEST(Rope, OnlyTheFirstChannelsTurn) {
  expect_row(turned({1, 0, 3, -4, 5}, 2, 2, Pairing::halves), {std::cos(2), std::sin(2), 3, -4, 5});
}

// Spec: with perm = even channels and then odd ones, halves(x[perm]) = neighbours(x)[perm].
TEST(Rope, OnePairingIsTheOtherPermuted) {
  const std::vector<float> x = {0.5f, -1, 2, 0.25f, -0.75f, 3};
  const std::size_t perm[6] = {0, 2, 4, 1, 3, 5};
  const Tensor neighbours = turned(x, 7, 6, Pairing::neighbours);
  std::vector<float> permuted;
  for (const std::size_t from : perm) permuted.push_back(x[from]);
  const Tensor halves = turned(permuted, 7, 6, Pairing::halves);
  for (int c = 0; c < 6; ++c) EXPECT_EQ(halves[c], neighbours[static_cast<std::int64_t>(perm[c])]);
}

TEST(Rope, ScoresKnowTheDistanceAlone) {
  const Tensor q = random_tensor({1, 1, 8}, 1), k = random_tensor({1, 1, 8}, 2);
  const auto dot = [&](std::int64_t i, std::int64_t j) {
    const Tensor a = rotate({}, Var(q), 1, rope_table(1, 8, i), Pairing::neighbours).value();
    const Tensor b = rotate({}, Var(k), 1, rope_table(1, 8, j), Pairing::neighbours).value();
    double sum = 0;
    for (int c = 0; c < 8; ++c) sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
    return sum;
  };
  EXPECT_NEAR(dot(3, 11), dot(1003, 1011), 1e-4);
  EXPECT_GT(std::abs(dot(3, 11) - dot(3, 12)), 1e-2);
}

// 100,000 has no more than 2^-8 of room in float32: angles are products in double, rounded once.
TEST(Rope, FarAnglesAreRoundedOnce) {
  const RotaryTable table = rope_table(1, 8, 99'999, 500.0);
  for (int t = 0; t < 4; ++t)
    EXPECT_EQ(table.angles.value()[t], static_cast<float>(99'999.0 * std::pow(500.0, -t / 4.0)));
}

TEST(Rope, RefusesWhatDoesNotFit) {
  EXPECT_THROW(rope_table(4, 3), Error);
  EXPECT_THROW(rope_table(4, 0), Error);
  EXPECT_THROW(rope_table(-1, 4), Error);
  EXPECT_THROW(rope_table(4, 4, 0, 0.0), Error);
  EXPECT_THROW(rope_table(4, 4, 0, HUGE_VAL), Error);
  EXPECT_THROW(kRope.make({.query = {1, 1, 4}, .key = {1, 1, 4}, .variant = "other"}), Error);
  EXPECT_THROW(kRope.make({.D = 3, .query = {1, 1, 4}, .key = {1, 1, 4}}), Error);
}

}  // namespace rope_test
}  // namespace locant
