#include "core/error.h"
#include "nn/video_swin_block.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace window_attention_test {

using testing::golden_input;
using testing::random_tensor;
using testing::SineSource;

TEST(Windows3d, TwoFramesOfTwoByThreeByHand) {
  const RowMaps maps = make_window_rows_3d({{2, 2, 3}, {1, 2, 2}});
  EXPECT_EQ(maps.groups, 4);
  EXPECT_EQ(maps.queries, 4);
  EXPECT_EQ(maps.query_rows,
            (std::vector<std::int32_t>{0, 1, 3, 4, 2, -1, 5, -1, 6, 7, 9, 10, 8, -1, 11, -1}));
  EXPECT_EQ(maps.key_rows, maps.query_rows);
  EXPECT_TRUE(maps.query_region.empty());
}

TEST(Windows3d, OneFrameIsTheFlatCase) {
  const RowMaps flat =
      make_window_rows({.rows = 5, .columns = 7, .window = {3, 2}, .shift_rows = 1, .shift_columns = 1});
  const RowMaps video = make_window_rows_3d({{1, 5, 7}, {1, 3, 2}, {0, 1, 1}});
  EXPECT_EQ(video.groups, flat.groups);
  EXPECT_EQ(video.query_rows, flat.query_rows);
  EXPECT_EQ(video.query_region, flat.query_region);
}

// 4 x 4 x 4 in windows of 2 shifted by 1: masked pairs a window, counted from the official mask.
TEST(Windows3d, RegionsOfAShiftedVideo) {
  const RowMaps maps = make_window_rows_3d({{4, 4, 4}, {2, 2, 2}, {1, 1, 1}});
  constexpr int kMasked[8] = {0, 32, 32, 48, 32, 48, 48, 56};
  ASSERT_EQ(maps.groups, 8);
  for (int g = 0; g < 8; ++g) {
    int masked = 0;
    for (int i = 0; i < 8; ++i)
      for (int j = 0; j < 8; ++j)
        masked += maps.query_region[static_cast<std::size_t>(g * 8 + i)] !=
                  maps.key_region[static_cast<std::size_t>(g * 8 + j)];
    EXPECT_EQ(masked, kMasked[g]) << g;
  }
}

TEST(Windows3d, ShortAxesTakeTheWholeAxis) {
  const WindowLayout3d l = fit_windows_3d({2, 6, 3}, {4, 3, 3}, {2, 1, 1});
  EXPECT_EQ(l.window.frames, 2);
  EXPECT_EQ(l.shift.frames, 0);
  EXPECT_EQ(l.window.rows, 3);
  EXPECT_EQ(l.shift.rows, 1);
  EXPECT_EQ(l.shift.columns, 0);
}

TEST(Windows3d, RefusesWhatDoesNotWork) {
  EXPECT_THROW(make_window_rows_3d({{2, 0, 3}, {1, 2, 2}}), Error);
  EXPECT_THROW(make_window_rows_3d({{2, 2, 3}, {1, -2, 2}}), Error);
  EXPECT_THROW(make_window_rows_3d({{2, 2, 3}, {1, 2, 2}, {1, 0, 0}}), Error);
  EXPECT_THROW(make_window_rows_3d({{1 << 15, 1 << 15, 1 << 15}, {1, 1, 1}}), Error);
}

TEST(Windows3d, MapsAreBuiltOnce) {
  const WindowMaps maps;
  const WindowLayout3d l{{2, 5, 7}, {1, 3, 2}, {0, 1, 1}};
  const auto first = maps.rows(l);
  EXPECT_EQ(maps.rows(l), first);
  EXPECT_NE(maps.rows(WindowLayout3d{{2, 5, 7}, {1, 3, 2}, {0, 1, 0}}), first);
  EXPECT_NE(maps.rows(WindowLayout3d{{5, 2, 7}, {1, 3, 2}, {0, 1, 1}}), first);
}

TEST(WindowAttention3d, TheCornerIsTheLeadingTokens) {
  RandomSource source(1);
  const WindowAttention3d layer(Weights(source, WeightMode::train),
                                {.width = 4, .heads = 2, .window = {4, 3, 3}});
  const auto tokens = layer.gather(18), window = layer.gather(Grid{2, 3, 3});
  EXPECT_EQ(tokens->query_code, window->query_code);
  EXPECT_EQ(tokens->key_code, window->key_code);
  EXPECT_THROW(layer.gather(37), Error);
  EXPECT_THROW(layer.gather(0), Error);
  EXPECT_THROW(WindowAttention3d(Weights(source, WeightMode::train), {.width = 5, .heads = 2}), Error);
}

TEST(WindowAttention3d, TheTablesOwnMapIsMadeOnce) {
  RandomSource source(1);
  const WindowAttention3d layer(Weights(source, WeightMode::train),
                                {.width = 4, .heads = 2, .window = {2, 3, 3}});
  EXPECT_EQ(layer.gather(Grid{2, 3, 3}), layer.gather(Grid{2, 3, 3}));
  EXPECT_NE(layer.gather(Grid{1, 3, 3}), layer.gather(Grid{2, 3, 3}));
}

TEST(VideoSwinBlock, RefusesAnotherGrid) {
  RandomSource source(1);
  const VideoSwinBlock block(Weights(source, WeightMode::train),
                             {.width = 4, .heads = 2, .window = {2, 2, 2}});
  const Var x(random_tensor({1, 12, 4}, 1));
  EXPECT_EQ(block({}, x, {3, 2, 2}).shape(), x.shape());
  EXPECT_THROW(block({}, x, {2, 2, 2}), Error);
}

}  // namespace window_attention_test
}  // namespace locant
