#include "position/temporal_bias.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace temporal_bias_test {

static_assert(temporal_table_rows(16) == 31);
static_assert(temporal_index(3, 0, 0) == 2 && temporal_index(3, 0, 2) == 0 && temporal_index(3, 2, 0) == 4);

TEST(TemporalBias, IndexOfThreeFrames) {
  constexpr std::int64_t kGolden[9] = {2, 1, 0, 3, 2, 1, 4, 3, 2};
  const TemporalBias bias{3, testing::sine({5, 2}, 0)};
  const auto rows = testing::rows_by_map(*testing::gather_of(temporal_bias_term(bias, 2)).map);
  EXPECT_EQ(rows, std::vector<std::int64_t>(kGolden, kGolden + 9));
  EXPECT_EQ(kTemporalBias.index({.query = {3, 1, 1}, .key = {3, 1, 1}}), rows);
}

TEST(TemporalBias, APlaceIsAGroup) {
  const auto maps = temporal_rows({2, 2, 3});
  EXPECT_EQ(maps->groups, 6);
  EXPECT_EQ(maps->queries, 2);
  EXPECT_EQ(maps->query_rows, (std::vector<std::int32_t>{0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11}));
  EXPECT_EQ(maps->key_rows, maps->query_rows);
}

TEST(TemporalBias, RefusesWhatDoesNotFit) {
  EXPECT_THROW(temporal_bias_term({3, testing::sine({6, 2}, 0)}, 2), Error);
  EXPECT_THROW(temporal_bias_term({3, testing::sine({5, 3}, 0)}, 2), Error);
  EXPECT_THROW(temporal_bias_term({3, Var()}, 2), Error);
  EXPECT_THROW(temporal_bias_term({0, testing::sine({5, 2}, 0)}, 2), Error);
  EXPECT_THROW(temporal_bias_term({-3, testing::sine({5, 2}, 0)}, 2), Error);
  EXPECT_THROW(temporal_rows({2, 0, 3}), Error);
  EXPECT_THROW(temporal_rows({-1, 2, 3}), Error);
}

}  // namespace temporal_bias_test
}  // namespace locant
