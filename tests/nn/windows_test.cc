#include "nn/windows.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "core/error.h"

namespace locant {
namespace windows_test {

using Ints = std::vector<std::int32_t>;

WindowLayout layout(std::int64_t rows, std::int64_t columns, Window window, std::int64_t shift_rows,
                    std::int64_t shift_columns, PadOrder order = PadOrder::pad_then_roll) {
  WindowLayout out;
  out.rows = rows;
  out.columns = columns;
  out.window = window;
  out.shift_rows = shift_rows;
  out.shift_columns = shift_columns;
  out.order = order;
  return out;
}

/// The same by moving an array about, as the libraries do: pad, roll, partition (or roll, pad, partition).
Ints moved(const WindowLayout& l) {
  const std::int64_t H = l.padded_rows(), W = l.padded_columns();
  const auto roll = [&](const Ints& in, std::int64_t rows, std::int64_t columns) {
    Ints out(in.size());
    for (std::int64_t y = 0; y < rows; ++y)
      for (std::int64_t x = 0; x < columns; ++x)
        out[static_cast<std::size_t>(((y - l.shift_rows + rows) % rows) * columns +
                                     (x - l.shift_columns + columns) % columns)] =
            in[static_cast<std::size_t>(y * columns + x)];
    return out;
  };
  const auto pad = [&](const Ints& in) {
    Ints out(static_cast<std::size_t>(H * W), -1);
    for (std::int64_t y = 0; y < l.rows; ++y)
      for (std::int64_t x = 0; x < l.columns; ++x)
        out[static_cast<std::size_t>(y * W + x)] = in[static_cast<std::size_t>(y * l.columns + x)];
    return out;
  };
  Ints grid(static_cast<std::size_t>(l.rows * l.columns));
  for (std::size_t i = 0; i < grid.size(); ++i) grid[i] = static_cast<std::int32_t>(i);
  grid = l.order == PadOrder::pad_then_roll ? roll(pad(grid), H, W) : pad(roll(grid, l.rows, l.columns));
  Ints out;
  for (std::int64_t wy = 0; wy < H / l.window.rows; ++wy)
    for (std::int64_t wx = 0; wx < W / l.window.columns; ++wx)
      for (std::int64_t i = 0; i < l.window.tokens(); ++i)
        out.push_back(grid[static_cast<std::size_t>((wy * l.window.rows + i / l.window.columns) * W +
                                                    wx * l.window.columns + i % l.window.columns)]);
  return out;
}

TEST(Windows, RegionsOfAFourByFourGrid) {
  const RowMaps maps = make_window_rows(layout(4, 4, {2, 2}, 1, 1));
  EXPECT_EQ(maps.groups, 4);
  EXPECT_EQ(maps.queries, 4);
  // Grid ids 0012 / 0012 / 3345 / 6678, cut into windows.
  EXPECT_EQ(maps.query_region, (Ints{0, 0, 0, 0, 1, 2, 1, 2, 3, 3, 6, 6, 4, 5, 7, 8}));
  EXPECT_EQ(maps.key_region, maps.query_region);
}

TEST(Windows, RowsOfAShiftedFourByFourGrid) {
  const RowMaps maps = make_window_rows(layout(4, 4, {2, 2}, 1, 1));
  EXPECT_EQ(maps.query_rows, (Ints{5, 6, 9, 10, 7, 4, 11, 8, 13, 14, 1, 2, 15, 12, 3, 0}));
  EXPECT_EQ(maps.key_rows, maps.query_rows);
}

TEST(Windows, RowsWithoutShiftHaveNoRegions) {
  const RowMaps maps = make_window_rows(layout(2, 4, {2, 2}, 0, 0));
  EXPECT_EQ(maps.query_rows, (Ints{0, 1, 4, 5, 2, 3, 6, 7}));
  EXPECT_TRUE(maps.query_region.empty());
}

TEST(Windows, PaddingSlotsDependOnTheOrder) {
  // Three columns in windows of two, shifted by one: pad then roll brings column 0 to the end, behind the
  // padding.
  EXPECT_EQ(make_window_rows(layout(1, 3, {1, 2}, 0, 1)).query_rows, (Ints{1, 2, -1, 0}));
  EXPECT_EQ(make_window_rows(layout(1, 3, {1, 2}, 0, 1, PadOrder::roll_then_pad)).query_rows,
            (Ints{1, 2, 0, -1}));
}

TEST(Windows, RegionsOnOneAxisOnly) {
  const RowMaps maps = make_window_rows(layout(2, 4, {2, 2}, 0, 1));
  EXPECT_EQ(maps.query_region, (Ints{0, 0, 0, 0, 1, 2, 1, 2}));
}

TEST(Windows, RowsAgreeWithMovingTheArray) {
  for (const PadOrder order : {PadOrder::pad_then_roll, PadOrder::roll_then_pad})
    for (const Window window : {Window{2, 2}, Window{3, 4}, Window{7, 7}})
      for (std::int64_t rows = 1; rows < 16; rows += 2)
        for (std::int64_t columns = 1; columns < 16; columns += 3)
          for (const bool shifted : {false, true}) {
            const WindowLayout l = layout(rows, columns, window, shifted ? window.rows / 2 : 0,
                                          shifted ? window.columns / 2 : 0, order);
            const RowMaps maps = make_window_rows(l);
            ASSERT_EQ(maps.query_rows, moved(l))
                << rows << "x" << columns << " in " << window.rows << "x" << window.columns;
            std::multiset<std::int32_t> tokens;
            for (const std::int32_t row : maps.query_rows)
              if (row >= 0) tokens.insert(row);
            ASSERT_EQ(tokens.size(), static_cast<std::size_t>(rows * columns));
            ASSERT_EQ(std::set<std::int32_t>(tokens.begin(), tokens.end()).size(), tokens.size());
          }
}

TEST(Windows, GiveWayToASmallGrid) {
  const auto fit = [](std::int64_t rows, std::int64_t columns, GridFit how) {
    const WindowLayout l = fit_windows({4, 6}, {1, rows, columns}, how, PadOrder::roll_then_pad, true);
    EXPECT_EQ(l.order, PadOrder::roll_then_pad);
    EXPECT_EQ(l.rows, rows);
    EXPECT_EQ(l.columns, columns);
    return std::vector<std::int64_t>{l.window.rows, l.window.columns, l.shift_rows, l.shift_columns};
  };
  using Numbers = std::vector<std::int64_t>;
  for (const GridFit how : {GridFit::shrink, GridFit::shrink_axis, GridFit::pad})
    EXPECT_EQ(fit(8, 12, how), (Numbers{4, 6, 2, 3}));
  EXPECT_EQ(fit(3, 12, GridFit::shrink), (Numbers{3, 3, 0, 0}));
  EXPECT_EQ(fit(3, 12, GridFit::shrink_axis), (Numbers{3, 6, 0, 3}));
  EXPECT_EQ(fit(3, 12, GridFit::pad), (Numbers{4, 6, 0, 3}));
  EXPECT_EQ(fit(8, 6, GridFit::shrink), (Numbers{4, 6, 0, 0}));  // just as large: one window, no shift
  EXPECT_EQ(fit(8, 6, GridFit::pad), (Numbers{4, 6, 2, 0}));
  EXPECT_FALSE(fit_windows({4, 6}, {1, 8, 12}, GridFit::pad, PadOrder::pad_then_roll, false).shifts());
}

TEST(Windows, RefusesWhatIsNoLayout) {
  EXPECT_THROW(make_window_rows(layout(0, 4, {2, 2}, 0, 0)), Error);
  EXPECT_THROW(make_window_rows(layout(4, 4, {0, 2}, 0, 0)), Error);
  EXPECT_THROW(make_window_rows(layout(4, 4, {2, 2}, 2, 0)), Error);
  EXPECT_THROW(make_window_rows(layout(4, 4, {2, 2}, 0, -1)), Error);
  EXPECT_THROW(make_window_rows(layout(std::int64_t{1} << 40, 4, {2, 2}, 0, 0)), Error);
  EXPECT_THROW(make_window_rows(layout(32768, 32768, {7, 7}, 0, 0)), Error);
}

TEST(Windows, MapsAreBuiltOnce) {
  const WindowMaps maps;
  const auto first = maps.rows(layout(8, 8, {4, 4}, 2, 2));
  EXPECT_EQ(maps.rows(layout(8, 8, {4, 4}, 2, 2)), first);
  EXPECT_NE(maps.rows(layout(8, 8, {4, 4}, 0, 2)), first);
  EXPECT_NE(maps.rows(layout(8, 8, {4, 4}, 2, 2, PadOrder::roll_then_pad)), first);
  EXPECT_EQ(maps.gather({4, 4}, {2, 2}), maps.gather({4, 4}, {2, 2}));
}

TEST(Windows, MapsServeManySizesAndThreads) {
  const WindowMaps maps;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&maps] {
      for (std::int64_t side = 1; side < 100; ++side) {
        const auto rows = maps.rows(layout(side, side, {4, 4}, 0, 0));
        EXPECT_EQ(rows->groups, ((side + 3) / 4) * ((side + 3) / 4));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Windows, WindowOrderGathersTokens) {
  Tensor tokens({2, 3, 1});
  for (std::int64_t i = 0; i < 6; ++i) tokens[i] = static_cast<float>(i + 1);
  const Tensor out = window_order(tokens, make_window_rows(layout(1, 3, {1, 2}, 0, 1)));
  ASSERT_EQ(out.shape(), (Shape{4, 2, 1}));
  const std::vector<float> got(out.values().begin(), out.values().end());
  EXPECT_EQ(got, (std::vector<float>{2, 3, 0, 1, 5, 6, 0, 4}));
}

}  // namespace windows_test
}  // namespace locant
