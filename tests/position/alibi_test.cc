#include "position/alibi.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace alibi_test {

TEST(Alibi, SlopesOfThePaper) {
  for (int h = 0; h < 8; ++h) EXPECT_EQ(alibi_slope(h, 8), std::exp2(-(h + 1)));
  for (int h = 0; h < 8; ++h) EXPECT_EQ(alibi_slope(h, 12), std::exp2(-(h + 1)));
  for (int h = 0; h < 4; ++h) EXPECT_DOUBLE_EQ(alibi_slope(8 + h, 12), std::exp2(-0.5 - h));
  for (int h = 0; h < 16; ++h) EXPECT_DOUBLE_EQ(alibi_slope(h, 16), std::exp2(-0.5 * (h + 1)));
  EXPECT_EQ(alibi_slope(0, 1), std::exp2(-8));
  EXPECT_EQ(alibi_slope(2, 3), std::exp2(-2));  // two heads: 2^-4, 2^-8; of four: 2^-2, then 2^-6
}

// The spec's example: one head with slope 1/2, three tokens.
TEST(Alibi, MatrixOfThree) {
  const Alibi alibi{Var(Tensor::full({1}, 0.5f)), true};
  AttentionOptions options;
  add_alibi({}, alibi, 3, 3, 0, options);
  const auto rows = testing::rows_by_map(*testing::gather_of(options.terms.at(0)).map);
  const Tensor table = testing::gather_of(options.terms[0]).table.value();
  constexpr double kWant[3][3] = {{0, -0.5, -1}, {-0.5, 0, -0.5}, {-1, -0.5, 0}};
  for (int n = 0; n < 9; ++n) EXPECT_EQ(table[rows[static_cast<std::size_t>(n)]], kWant[n / 3][n % 3]);
  EXPECT_TRUE(options.visibility.causal);
}

TEST(Alibi, MemoryIsLinear) {
  AttentionOptions options;
  options.heads = 2;
  add_alibi({}, {Var(alibi_slopes(2)), false}, 1000, 3000, 0, options);
  EXPECT_EQ(testing::gather_of(options.terms[0]).table.shape(), (Shape{3000, 2}));
  EXPECT_EQ(testing::gather_of(options.terms[0]).map->offsets, 3999);
  EXPECT_FALSE(options.visibility.causal);
}

TEST(Alibi, ACachedStepReadsTheLastRow) {
  AttentionOptions options;
  add_alibi({}, {Var(alibi_slopes(1)), true}, 1, 9, 8, options);
  const auto rows = testing::rows_by_map(*testing::gather_of(options.terms[0]).map);
  for (std::int64_t j = 0; j < 9; ++j) EXPECT_EQ(rows[static_cast<std::size_t>(j)], 8 - j);
  EXPECT_EQ(options.visibility.causal_offset, 8);
}

TEST(Alibi, RefusesWhatDoesNotFit) {
  AttentionOptions options;
  options.heads = 2;
  EXPECT_THROW(add_alibi({}, {Var(alibi_slopes(3)), true}, 4, 4, 0, options), Error);
  EXPECT_THROW(add_alibi({}, {Var(), true}, 4, 4, 0, options), Error);
  EXPECT_THROW(add_alibi({}, {Var(alibi_slopes(2)), true}, -4, 4, 0, options), Error);
  EXPECT_THROW(add_alibi({}, {Var(alibi_slopes(2)), true}, 4, 4, -1, options), Error);
  EXPECT_THROW(alibi_slopes(0), Error);
  EXPECT_THROW(alibi_slopes(-2), Error);
  EXPECT_THROW(kAlibi.make({.query = {1, 1, 4}, .key = {1, 1, 4}, .variant = "other"}), Error);
}

}  // namespace alibi_test
}  // namespace locant
