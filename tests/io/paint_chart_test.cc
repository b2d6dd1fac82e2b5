#include "io/paint_chart.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/error.h"
#include "io/bitmap_font.h"
#include "io/contact_sheet.h"
#include "io/csv_text.h"

namespace locant {
namespace paint_chart_test {

constexpr Colour kWhite = {255, 255, 255}, kBlack = {0, 0, 0}, kRed = {255, 0, 0};

Colour pixel(const Image& image, std::int64_t row, std::int64_t column) {
  const std::uint8_t* at = image.rgb.data() + (row * image.columns + column) * 3;
  return {at[0], at[1], at[2]};
}

std::int64_t count(const Image& image, const Colour& colour) {
  std::int64_t out = 0;
  for (std::int64_t y = 0; y < image.rows; ++y)
    for (std::int64_t x = 0; x < image.columns; ++x) out += pixel(image, y, x) == colour ? 1 : 0;
  return out;
}

// "#" for ink.
std::string drawn(const Image& image) {
  std::string out;
  for (std::int64_t y = 0; y < image.rows; ++y) {
    for (std::int64_t x = 0; x < image.columns; ++x) out += pixel(image, y, x) == kWhite ? '.' : '#';
    out += '\n';
  }
  return out;
}

TEST(Canvas, RectanglesAndPicturesAreCutAtTheSides) {
  Image image = blank_image(4, 5);
  EXPECT_EQ(count(image, kWhite), 20);
  fill_rect(image, -1, 3, 3, 9, kRed);
  EXPECT_EQ(count(image, kRed), 4);
  EXPECT_EQ(pixel(image, 1, 4), kRed);
  EXPECT_EQ(pixel(image, 2, 4), kWhite);
  Image part = blank_image(3, 3, kBlack);
  fill_rect(part, 0, 0, 3, 1, kRed);  // the column that is cut off
  paste_image(image, part, 2, -1);
  EXPECT_EQ(drawn(image), "...##\n...##\n##...\n##...\n");
  paste_image(image, blank_image(3, 3), 9, 9);
  paste_image(image, blank_image(3, 3), -9, -9);
  EXPECT_EQ(count(image, kBlack), 4);
  EXPECT_EQ(count(image, kRed), 4);
  EXPECT_THROW(blank_image(0, 5), Error);
  EXPECT_THROW(blank_image(1 << 20, 1 << 20), Error);
}

TEST(Canvas, LinesHaveTheirWidth) {
  Image image = blank_image(11, 20);
  draw_line(image, 5, 3, 5, 16, 3, kBlack);
  for (std::int64_t y = 0; y < 11; ++y) EXPECT_EQ(pixel(image, y, 10) == kBlack, y >= 4 && y <= 6) << y;
  draw_line(image, 5, -100, 5, 100, 1, kRed);  // beyond the sides
  EXPECT_EQ(count(image, kRed), 20);
  draw_line(image, 100, 100, 200, 200, 5, kRed);
  EXPECT_EQ(count(image, kRed), 20);
}

TEST(BitmapFont, DrawsLettersAcrossUpwardsAndLarge) {
  Image image = blank_image(9, 12);
  draw_text(image, 0, 0, "Lp");
  EXPECT_EQ(drawn(image),
            "#...........\n#...........\n#.....####..\n#.....#...#.\n#.....#...#.\n#.....#...#.\n"
            "#####.####..\n......#.....\n......#.....\n");
  // A quarter turned: the first letter is below, its top on the left.
  Image upwards = blank_image(12, 9);
  draw_text(upwards, 12, 0, "Lp", {.upwards = true});
  for (std::int64_t y = 0; y < 9; ++y)
    for (std::int64_t x = 0; x < 12; ++x)
      EXPECT_EQ(pixel(image, y, x), pixel(upwards, 11 - x, y)) << y << " " << x;
  Image large = blank_image(27, 36);
  draw_text(large, 0, 0, "Lp", {.scale = 3});
  for (std::int64_t y = 0; y < 27; ++y)
    for (std::int64_t x = 0; x < 36; ++x) EXPECT_EQ(pixel(large, y, x), pixel(image, y / 3, x / 3));
  draw_text(image, 100, -100, "outside");
}

TEST(BitmapFont, EveryCharacterLooksOtherwise) {
  std::set<std::string> seen;
  for (char c = ' '; c <= '~'; ++c) {
    Image image = blank_image(kGlyphRows, kGlyphAdvance);
    draw_text(image, 0, 0, std::string(1, c));
    EXPECT_TRUE(seen.insert(drawn(image)).second) << c;
    EXPECT_EQ(count(image, kWhite) == kGlyphRows * kGlyphAdvance, c == ' ') << c;
    for (std::int64_t y = 0; y < kGlyphRows; ++y) EXPECT_EQ(pixel(image, y, kGlyphAdvance - 1), kWhite) << c;
  }
}

TEST(BitmapFont, TextIsCutToItsRoom) {
  EXPECT_EQ(text_width("abc", 2), 36);
  EXPECT_EQ(text_width("\xC3\xA9t\xC3\xA9"), 18);  // three characters of UTF-8
  EXPECT_EQ(fit_text("abcdef", 36), "abcdef");
  EXPECT_EQ(fit_text("abcdef", 35), "abc..");
  EXPECT_EQ(fit_text("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", 23), "\xC3\xA9..");
  EXPECT_EQ(fit_text("abc", 12), "..");
  EXPECT_EQ(fit_text("abc", 5), "");
  EXPECT_EQ(fit_text("", 0), "");
}

LineChart two_lines() {
  LineChart chart;
  chart.title = "title";
  chart.x_title = "epoch";
  chart.lines = {{"up", {1, 2, 3, 4, 5}, {0, 1, 2, 3, 4}}, {"down", {1, 3, 5}, {4, 2.5, 0.5}}};
  return chart;
}

TEST(LineChart, LinesPassThroughTheirPoints) {
  const LineChart chart = two_lines();
  const Image image = paint_lines(chart);
  EXPECT_EQ(image.rows, chart.rows);
  EXPECT_EQ(image.columns, chart.columns);
  const auto at = [&](double x, double y) {
    const ChartPoint point = chart_point(chart, x, y);
    return pixel(image, std::llround(point.row), std::llround(point.column));
  };
  EXPECT_EQ(at(2, 1), line_colour(0));
  EXPECT_EQ(at(4.5, 3.5), line_colour(0));  // between points
  EXPECT_EQ(at(3, 2.5), line_colour(1));
  EXPECT_EQ(at(5, 0.5), line_colour(1));
  EXPECT_NE(at(2, 3), line_colour(0));
  EXPECT_NE(at(2, 3), line_colour(1));
  // Up is up, and both axes are linear.
  const ChartPoint low = chart_point(chart, 1, 0), high = chart_point(chart, 5, 4),
                   middle = chart_point(chart, 3, 2);
  EXPECT_GT(low.row, high.row);
  EXPECT_LT(low.column, high.column);
  EXPECT_DOUBLE_EQ(middle.row, (low.row + high.row) / 2);
  EXPECT_DOUBLE_EQ(middle.column, (low.column + high.column) / 2);
  EXPECT_GT(low.column, 0);
  EXPECT_LT(high.column, static_cast<double>(chart.columns));
}

TEST(LineChart, GapsAndHostileNumbers) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kFar = HUGE_VAL;
  LineChart chart;
  chart.lines = {{"a", {1, 2, 3, 4}, {1, kNaN, 1, 1}}, {"b", {1, kNaN, 4}, {0, 1, 0}}};
  const Image image = paint_lines(chart);
  const auto at = [&](double x, double y) {
    const ChartPoint point = chart_point(chart, x, y);
    return pixel(image, std::llround(point.row), std::llround(point.column));
  };
  EXPECT_EQ(at(3.5, 1), line_colour(0));
  EXPECT_NE(at(1.5, 1), line_colour(0));
  EXPECT_NE(at(2.5, 1), line_colour(0));
  for (const std::vector<double>& y : std::vector<std::vector<double>>{{},
                                                                       {kNaN},
                                                                       {kFar, -kFar},
                                                                       {0},
                                                                       {5, 5},
                                                                       {1e308, -1e308},
                                                                       {1e149, -1e149},
                                                                       {1e-300, 2e-300},
                                                                       {1e15, 1e15 + 2}}) {
    LineChart odd;
    odd.lines = {{"y", std::vector<double>(y.size(), 3.0), y}};
    for (std::size_t i = 0; i < y.size(); ++i) odd.lines[0].x[i] += static_cast<double>(i);
    EXPECT_EQ(paint_lines(odd).columns, odd.columns);
  }
  chart.lines[0].x.pop_back();
  EXPECT_THROW(paint_lines(chart), Error);
  chart = two_lines();
  chart.rows = 50;
  EXPECT_THROW(paint_lines(chart), Error);
}

MatrixChart matrix_of(std::int64_t n, const std::string& name = "class") {
  MatrixChart chart;
  chart.heading = {"title"};
  chart.row_title = "label";
  chart.column_title = "predicted";
  for (std::int64_t i = 0; i < n; ++i) chart.row_names.push_back(name + std::to_string(i));
  chart.column_names = chart.row_names;
  chart.shares.assign(static_cast<std::size_t>(n * n), 0.0f);
  chart.numbers.assign(chart.shares.size(), 0);
  for (std::size_t i = 0; i < chart.shares.size(); i += static_cast<std::size_t>(n) + 1)
    chart.shares[i] = 1.0f;
  return chart;
}

TEST(MatrixChart, FitsAndHasItsCells) {
  for (const std::int64_t n : {1, 2, 10, 20, 21, 50, 150, 200, 500, 1000, 1800}) {
    const Image image = paint_matrix_chart(matrix_of(n, n > 20 ? "a_rather_long_name_of_a_class_" : "c"));
    EXPECT_LE(image.rows, 2000) << n;
    EXPECT_LE(image.columns, 2000) << n;
    // The diagonal's cells are squares of one size.
    const std::int64_t dark = count(image, {10, 40, 100});
    const auto side =
        static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(dark) / static_cast<double>(n))));
    EXPECT_EQ(side * side * n, dark) << n;
    EXPECT_GE(side, n <= 20 ? 20 : n <= 50 ? 11 : n <= 200 ? 7 : 1) << n;
  }
  EXPECT_THROW(paint_matrix_chart(matrix_of(2500)), Error);
}

TEST(MatrixChart, LightAndDarkAndNumbers) {
  MatrixChart chart = matrix_of(2);
  const std::int64_t plain = count(paint_matrix_chart(chart), {20, 20, 20});
  chart.numbers = {7, 0, 0, 0};  // on a dark cell: white ink
  const Image on_dark = paint_matrix_chart(chart);
  EXPECT_EQ(count(on_dark, {20, 20, 20}), plain);
  EXPECT_LT(count(on_dark, {10, 40, 100}), count(paint_matrix_chart(matrix_of(2)), {10, 40, 100}));
  chart.numbers = {0, 7, 0, 0};
  EXPECT_GT(count(paint_matrix_chart(chart), {20, 20, 20}), plain);
  chart.numbers.pop_back();
  EXPECT_THROW(paint_matrix_chart(chart), Error);
  EXPECT_THROW(paint_matrix_chart(matrix_of(0)), Error);
  chart = matrix_of(2);
  chart.most = 60;
  EXPECT_THROW(paint_matrix_chart(chart), Error);
}

TEST(PaintBelow, KeepsAllAndWhiteBetween) {
  const Image both = paint_below({blank_image(2, 3, kRed), blank_image(1, 5, kBlack)}, 2);
  EXPECT_EQ(drawn(both), "###..\n###..\n.....\n.....\n#####\n");
  EXPECT_THROW(paint_below({}, 2), Error);
}

TEST(ContactSheet, FitsPictures) {
  const Image small = blank_image(28, 20, kRed);
  const Image enlarged = fit_into(small, 144);
  EXPECT_EQ(enlarged.rows, 140);
  EXPECT_EQ(enlarged.columns, 100);
  EXPECT_EQ(count(enlarged, kRed), 14000);
  const Image shrunk = fit_into(blank_image(2000, 1000, kRed), 144);
  EXPECT_EQ(shrunk.rows, 144);
  EXPECT_EQ(shrunk.columns, 72);
  EXPECT_EQ(fit_into(blank_image(1, 20000), 144).rows, 1);
  EXPECT_THROW(fit_into(small, 0), Error);
  EXPECT_THROW(fit_into({}, 144), Error);
}

TEST(ContactSheet, PicturesStandInReadingOrder) {
  ContactSheet sheet{.title = "t", .across = 2, .side = 20};
  for (const Colour& colour : {kRed, kBlack, Colour{0, 0, 255}})
    sheet.pictures.push_back({blank_image(20, 10, colour), {{"a caption that is cut"}, {"b"}}});
  const Image image = paint_contact_sheet(sheet);
  const std::int64_t top = 42, left = 12, across = 32, down = 20 + 12 + 2 * 11;
  EXPECT_EQ(pixel(image, top + 10, left + 10), kRed);
  EXPECT_EQ(pixel(image, top + 10, left + 2), (Colour{240, 240, 240}));
  EXPECT_EQ(pixel(image, top + 10, left + across + 10), kBlack);
  EXPECT_EQ(pixel(image, top + down + 10, left + 10), (Colour{0, 0, 255}));
  EXPECT_EQ(image.rows, top + 2 * down + 12);
  EXPECT_EQ(paint_contact_sheet({.title = "none"}).rows, 54);
  EXPECT_THROW(paint_contact_sheet({.title = "", .across = 0}), Error);
}

TEST(CsvText, QuotesWhatNeedsIt) {
  EXPECT_EQ(csv_field("plain name"), "plain name");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("\""), "\"\"\"\"");
  EXPECT_EQ(csv_field("a\nb"), "\"a\nb\"");
  EXPECT_EQ(csv_field("a\rb"), "\"a\rb\"");
  EXPECT_EQ(csv_field(""), "");
}

}  // namespace paint_chart_test
}  // namespace locant
