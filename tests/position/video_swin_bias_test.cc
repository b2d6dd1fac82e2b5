#include "position/video_swin_bias.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace video_swin_bias_test {

using testing::rows_by_map;

static_assert(video_swin_table_rows({8, 7, 7}) == 2535);
static_assert(video_swin_index({2, 2, 1}, 0, 3) == 0 && video_swin_index({2, 2, 1}, 3, 0) == 8);

TEST(VideoSwinBias, WorkedExamplesOfTheSpec) {
  constexpr std::int64_t kGolden[16] = {4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4};
  const std::vector<std::int64_t> golden(kGolden, kGolden + 16);
  for (const Grid w : {Grid{2, 2, 1}, Grid{2, 1, 2}}) {
    EXPECT_EQ(rows_by_map(*video_swin_gather(w, w, WindowFit::corner)), golden);
    EXPECT_EQ(kVideoSwinBias.index({.query = w, .key = w}), golden);
    for (int n = 0; n < 16; ++n) EXPECT_EQ(video_swin_index(w, n / 4, n % 4), kGolden[n]);
  }
}

// One frame of 3 x 3: Swin's index in the middle plane of the table.
TEST(VideoSwinBias, ThreeByThreeByHand) {
  constexpr std::int64_t kFirst[9] = {12, 11, 10, 7, 6, 5, 2, 1, 0},
                         kLast[9] = {24, 23, 22, 19, 18, 17, 14, 13, 12};
  for (int j = 0; j < 9; ++j) {
    EXPECT_EQ(video_swin_index({1, 3, 3}, 0, j), kFirst[j]);
    EXPECT_EQ(video_swin_index({2, 3, 3}, 0, j), kFirst[j] + 25);
    EXPECT_EQ(video_swin_index({2, 3, 3}, 8, j), kLast[j] + 25);
    EXPECT_EQ(video_swin_index({2, 3, 3}, 17, j), kLast[j] + 50);
  }
}

// The corner of the full matrix is what was meant when the depth shrank, and nothing else.
TEST(VideoSwinBias, ShrunkenWindows) {
  const Grid table{4, 3, 3};
  const auto both = [&](Grid w) {
    return std::pair(rows_by_map(*video_swin_gather(table, w, WindowFit::corner)),
                     rows_by_map(*video_swin_gather(table, w, WindowFit::displacement)));
  };
  const auto [depth, depth_meant] = both({2, 3, 3});
  EXPECT_EQ(depth, depth_meant);
  const auto [row, row_meant] = both({2, 2, 3});
  EXPECT_NE(row, row_meant);
  for (std::int64_t i = 0; i < 12; ++i)
    for (std::int64_t j = 0; j < 12; ++j) {
      const auto at = static_cast<std::size_t>(i * 12 + j);
      EXPECT_EQ(row[at], video_swin_index(table, i, j));
      EXPECT_EQ(row_meant[at], video_swin_row(table, i / 6 - j / 6, i % 6 / 3 - j % 6 / 3, i % 3 - j % 3));
    }
}

TEST(VideoSwinBias, InflationRepeatsOverDepth) {
  const Var flat = testing::sine({15, 2}, 0);  // 2 x 3
  const Tensor table = inflate_swin_bias({}, flat, {3, 2, 3}).value();
  ASSERT_EQ(table.shape(), (Shape{75, 2}));
  for (std::int64_t n = 0; n < 150; ++n) EXPECT_EQ(table[n], flat.value()[n % 30]);
  EXPECT_THROW(inflate_swin_bias({}, flat, {3, 3, 3}), Error);
  EXPECT_THROW(inflate_swin_bias({}, flat, {0, 2, 3}), Error);
}

TEST(VideoSwinBias, RefusesWhatDoesNotFit) {
  EXPECT_THROW(video_swin_gather({2, 3, 3}, {3, 3, 3}, WindowFit::corner), Error);
  EXPECT_THROW(video_swin_gather({2, 3, 3}, {2, 0, 3}, WindowFit::corner), Error);
  EXPECT_THROW(video_swin_gather({2, -3, 3}, {2, -3, 3}, WindowFit::displacement), Error);
  EXPECT_THROW(video_swin_gather({1 << 20, 1 << 20, 1 << 20}, {1, 1, 1}, WindowFit::corner), Error);
  const auto gather = video_swin_gather({2, 2, 2}, {2, 2, 2}, WindowFit::corner);
  EXPECT_NO_THROW(video_swin_bias_term({{2, 2, 2}, testing::sine({27, 2}, 0)}, 2, gather));
  EXPECT_THROW(video_swin_bias_term({{2, 2, 2}, testing::sine({26, 2}, 0)}, 2, gather), Error);
  EXPECT_THROW(video_swin_bias_term({{2, 2, 2}, testing::sine({27, 3}, 0)}, 2, gather), Error);
}

}  // namespace video_swin_bias_test
}  // namespace locant
