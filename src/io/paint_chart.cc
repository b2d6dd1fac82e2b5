#include "io/paint_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "io/bitmap_font.h"
#include "io/paint.h"

namespace locant {
namespace {

constexpr std::int64_t kMargin = 10, kLineGap = 6, kChartScale = 2;
constexpr Colour kGridColour = {225, 225, 225}, kAxisColour = {90, 90, 90};

/// Differences of such numbers are finite too.
bool is_drawable(double x, double y) { return std::abs(x) < 1e150 && std::abs(y) < 1e150; }

std::int64_t line_rows(std::int64_t scale) { return kGlyphRows * scale + kLineGap; }

// ---- lines

/// Round numbers from at or below the smallest to at or above the largest.
struct ChartAxis {
  double low = 0.0, high = 1.0, step = 1.0;

  std::int64_t marks() const { return std::llround((high - low) / step) + 1; }
  double mark(std::int64_t i) const { return low + static_cast<double>(i) * step; }
  double share(double value) const { return (value - low) / (high - low); }
};

ChartAxis chart_axis(double low, double high, int intervals, double least_step) {
  if (!(high > low)) {
    const double pad = std::max(std::abs(low) * 0.1, least_step > 0.0 ? least_step : 1e-9);
    high = low + pad;
    low -= pad;
  }
  const double wanted = std::max((high - low) / intervals, least_step);
  const double power = std::pow(10.0, std::floor(std::log10(wanted)));
  ChartAxis axis;
  axis.step = power * 10.0;
  for (const double digit : {1.0, 2.0, 5.0})
    if (power * digit >= wanted * (1.0 - 1e-9)) {
      axis.step = power * digit;
      break;
    }
  axis.low = std::floor(low / axis.step + 1e-9) * axis.step;
  axis.high = std::ceil(high / axis.step - 1e-9) * axis.step;
  return axis;
}

std::string mark_text(const ChartAxis& axis, std::int64_t i, bool percent) {
  const double value = std::round(axis.mark(i) / axis.step) * axis.step;
  return percent ? fmt::format("{:.4g}%", value * 100.0) : fmt::format("{:.4g}", value + 0.0);
}

/// Where things stand.
struct ChartLayout {
  ChartAxis x, y;
  std::int64_t top = 0, left = 0, bottom = 0, right = 0;  ///< of the plot, pixels
  bool empty = true;
};

ChartLayout chart_layout(const LineChart& chart) {
  require(chart.rows >= 100 && chart.columns >= 200, "paint",
          "a chart of {} x {} pixels; at least 200 x 100 are needed", chart.columns, chart.rows);
  constexpr double kFar = std::numeric_limits<double>::infinity();
  double x_low = kFar, x_high = -kFar, y_low = kFar, y_high = -kFar;
  bool whole = true;
  for (const ChartLine& line : chart.lines) {
    require(line.x.size() == line.y.size(), "paint", "line {} has {} x and {} y", line.name, line.x.size(),
            line.y.size());
    for (std::size_t i = 0; i < line.x.size(); ++i) {
      if (!is_drawable(line.x[i], line.y[i])) continue;
      x_low = std::min(x_low, line.x[i]);
      x_high = std::max(x_high, line.x[i]);
      y_low = std::min(y_low, line.y[i]);
      y_high = std::max(y_high, line.y[i]);
      whole = whole && line.x[i] == std::round(line.x[i]);
    }
  }
  ChartLayout out;
  out.empty = !(x_low <= x_high);
  if (!out.empty) {
    out.x = chart_axis(x_low, x_high, 10, whole ? 1.0 : 0.0);
    out.y = chart_axis(y_low, y_high, 5, 0.0);
    // The first and the last point stand at the sides; marks are the round numbers between.
    if (x_high > x_low) {
      out.x.low = x_low;
      out.x.high = x_high;
    }
  }
  std::int64_t widest = 0;
  for (std::int64_t i = 0; i < out.y.marks(); ++i)
    widest = std::max(widest, text_width(mark_text(out.y, i, chart.percent), kChartScale));
  out.top = kMargin + 2 * line_rows(kChartScale) + kGlyphRows;  // half a mark's text stands above it
  out.left = kMargin + widest + kLineGap;
  out.bottom = chart.rows - kMargin - 2 * line_rows(kChartScale);
  out.right = chart.columns - 3 * kMargin;
  return out;
}

ChartPoint chart_pixel(const ChartLayout& layout, double x, double y) {
  const auto span = [](std::int64_t from, std::int64_t to) { return static_cast<double>(to - from); };
  return {static_cast<double>(layout.bottom) - layout.y.share(y) * span(layout.top, layout.bottom),
          static_cast<double>(layout.left) + layout.x.share(x) * span(layout.left, layout.right)};
}

void draw_axes(Image& image, const LineChart& chart, const ChartLayout& layout) {
  const TextStyle style{.colour = kAxisColour, .scale = kChartScale};
  for (std::int64_t i = 0; i < layout.y.marks(); ++i) {
    const auto row = std::llround(chart_pixel(layout, layout.x.low, layout.y.mark(i)).row);
    const std::string text = mark_text(layout.y, i, chart.percent);
    fill_rect(image, row, layout.left, 1, layout.right - layout.left + 1, kGridColour);
    draw_text(image, row - 7 * kChartScale / 2, layout.left - kLineGap - text_width(text, kChartScale), text,
              style);
  }
  ChartAxis marks = layout.x;
  marks.low = std::ceil(layout.x.low / marks.step - 1e-9) * marks.step;
  std::int64_t free_from = 0;
  for (std::int64_t i = 0; marks.mark(i) <= layout.x.high + marks.step * 1e-6; ++i) {
    const auto column = std::llround(chart_pixel(layout, marks.mark(i), layout.y.low).column);
    const std::string text = mark_text(marks, i, false);
    const std::int64_t width = text_width(text, kChartScale), at = column - width / 2;
    fill_rect(image, layout.top, column, layout.bottom - layout.top + 1, 1, kGridColour);
    if (at < free_from) continue;
    draw_text(image, layout.bottom + kLineGap, at, text, style);
    free_from = at + width + 2 * kGlyphAdvance;
  }
  fill_rect(image, layout.bottom, layout.left, 1, layout.right - layout.left + 1, kAxisColour);
  fill_rect(image, layout.top, layout.left, layout.bottom - layout.top + 1, 1, kAxisColour);
  draw_text(image, layout.bottom + line_rows(kChartScale) + kLineGap,
            (layout.left + layout.right - text_width(chart.x_title, kChartScale)) / 2, chart.x_title, style);
}

void draw_points(Image& image, const ChartLine& line, const ChartLayout& layout, const Colour& colour) {
  constexpr double kWidth = 2.0, kDot = 6.0;
  constexpr std::size_t kFewPoints = 24;
  bool joined = false;
  ChartPoint last;
  for (std::size_t i = 0; i < line.x.size(); ++i) {
    const bool there = is_drawable(line.x[i], line.y[i]);
    const ChartPoint at = there ? chart_pixel(layout, line.x[i], line.y[i]) : ChartPoint{};
    if (there && joined) draw_line(image, last.row, last.column, at.row, at.column, kWidth, colour);
    if (there && line.x.size() <= kFewPoints)
      draw_line(image, at.row, at.column, at.row, at.column, kDot, colour);
    joined = there;
    last = at;
  }
}

}  // namespace

Colour line_colour(std::size_t index) {
  constexpr std::array<Colour, 6> kColours = {
      {{35, 95, 200}, {230, 120, 15}, {25, 145, 70}, {200, 35, 45}, {130, 65, 175}, {0, 145, 160}}};
  return kColours[index % kColours.size()];
}

ChartPoint chart_point(const LineChart& chart, double x, double y) {
  return chart_pixel(chart_layout(chart), x, y);
}

Image paint_lines(const LineChart& chart) {
  const ChartLayout layout = chart_layout(chart);
  Image image = blank_image(chart.rows, chart.columns);
  const std::int64_t room = chart.columns - 2 * kMargin;
  draw_text(image, kMargin, kMargin, fit_text(chart.title, room, kChartScale), {.scale = kChartScale});
  if (layout.empty) {
    draw_text(image, layout.top, kMargin, "no numbers", {.colour = kAxisColour, .scale = kChartScale});
    return image;
  }
  draw_axes(image, chart, layout);
  std::int64_t column = kMargin;
  for (std::size_t i = 0; i < chart.lines.size(); ++i) {
    const ChartLine& line = chart.lines[i];
    const TextStyle style{.colour = line_colour(i), .scale = kChartScale};
    draw_text(image, kMargin + line_rows(kChartScale), column, line.name, style);
    column += text_width(line.name, kChartScale) + 3 * kGlyphAdvance * kChartScale;
    draw_points(image, line, layout, line_colour(i));
  }
  return image;
}

// ---- a matrix

namespace {

/// Sizes in pixels; scale 0: no names.
struct MatrixCells {
  std::int64_t scale = 0, size = 1, row_names = 0, column_names = 0;
  bool numbers = false;
};

std::int64_t widest_of(const std::vector<std::string>& texts, std::int64_t scale) {
  std::int64_t widest = 0;
  for (const std::string& text : texts) widest = std::max(widest, text_width(text, scale));
  return widest;
}

std::int64_t heading_rows(const MatrixChart& chart) {
  return static_cast<std::int64_t>(chart.heading.size()) * line_rows(kChartScale) +
         2 * line_rows(kChartScale);  // and the columns' title, and a gap
}

/// What titles and margins leave of a side.
std::int64_t room_for_rows(const MatrixChart& chart) {
  return chart.most - 2 * kMargin - heading_rows(chart);
}
std::int64_t room_for_columns(const MatrixChart& chart) {
  return chart.most - 2 * kMargin - line_rows(kChartScale);
}

MatrixCells cells_of(const MatrixChart& chart) {
  const auto rows = static_cast<std::int64_t>(chart.row_names.size()),
             columns = static_cast<std::int64_t>(chart.column_names.size());
  std::int64_t largest = 0;
  for (const std::int64_t number : chart.numbers) largest = std::max(largest, number);
  const std::string digits = std::to_string(largest);
  constexpr std::int64_t kFewNames = 20, kLongestName = 26;
  for (const std::int64_t scale : {2, 1, 0}) {
    if (scale == 2 && std::max(rows, columns) > kFewNames) continue;
    MatrixCells cells;
    cells.scale = scale;
    if (scale > 0) {
      const std::int64_t longest = kLongestName * kGlyphAdvance * scale;
      cells.row_names = std::min(widest_of(chart.row_names, scale), longest) + kLineGap;
      cells.column_names =
          std::clamp(widest_of(chart.column_names, scale), kGlyphRows * scale, longest) + kLineGap;
    }
    const std::int64_t with_numbers = text_width(digits, std::max<std::int64_t>(scale, 1)) + 6,
                       wanted = scale == 0 ? 8 : std::max(with_numbers, 18 * scale);
    cells.size = std::min({wanted, (room_for_rows(chart) - cells.column_names) / rows,
                           (room_for_columns(chart) - cells.row_names) / columns});
    cells.numbers = scale > 0 && !chart.numbers.empty() && cells.size >= with_numbers;
    if (cells.size >= (scale == 0 ? 1 : kGlyphRows * scale + 1)) return cells;
  }
  fail("paint", "a matrix of {} x {} cells does not fit into {} pixels a side; draw a part of it", rows,
       columns, chart.most);
}

void check_matrix(const MatrixChart& chart) {
  const std::size_t cells = chart.row_names.size() * chart.column_names.size();
  require(
      cells > 0 && chart.shares.size() == cells && (chart.numbers.empty() || chart.numbers.size() == cells),
      "paint", "{} row names, {} column names, {} shares, {} numbers; one a cell was expected",
      chart.row_names.size(), chart.column_names.size(), chart.shares.size(), chart.numbers.size());
  require(room_for_rows(chart) > 0 && room_for_columns(chart) > 0, "paint",
          "{} pixels a side leave no room beside the titles", chart.most);
}

}  // namespace

Image paint_matrix_chart(const MatrixChart& chart) {
  check_matrix(chart);
  const MatrixCells cells = cells_of(chart);
  const auto rows = static_cast<std::int64_t>(chart.row_names.size()),
             columns = static_cast<std::int64_t>(chart.column_names.size());
  const std::int64_t left = kMargin + line_rows(kChartScale) + cells.row_names,
                     top = kMargin + heading_rows(chart) + cells.column_names,
                     titles = std::max({widest_of(chart.heading, kChartScale),
                                        left - kMargin + text_width(chart.column_title, kChartScale)}),
                     width = std::min(chart.most,
                                      std::max(left + columns * cells.size, kMargin + titles) + kMargin),
                     height = std::min(chart.most, std::max(top + rows * cells.size,
                                                            top + text_width(chart.row_title, kChartScale)) +
                                                       kMargin);
  Image image = blank_image(height, width);
  std::int64_t row = kMargin;
  for (const std::string& line : chart.heading) {
    draw_text(image, row, kMargin, fit_text(line, width - 2 * kMargin, kChartScale), {.scale = kChartScale});
    row += line_rows(kChartScale);
  }
  const TextStyle grey{.colour = kAxisColour, .scale = kChartScale};
  draw_text(image, row + kLineGap, left, chart.column_title, grey);
  draw_text(image, top + text_width(chart.row_title, kChartScale), kMargin, chart.row_title,
            {.colour = kAxisColour, .scale = kChartScale, .upwards = true});

  const std::vector<float> ends = {0.0f, 1.0f};
  const ColourScale colours(ends, Palette::from_zero);
  const std::int64_t line = cells.size >= 8 ? 1 : 0;  // between cells
  if (line > 0)
    fill_rect(image, top - 1, left - 1, rows * cells.size + 1, columns * cells.size + 1, kGridColour);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c) {
      const auto at = static_cast<std::size_t>(r * columns + c);
      const std::int64_t y = top + r * cells.size, x = left + c * cells.size;
      fill_rect(image, y, x, cells.size - line, cells.size - line, colours(chart.shares[at]));
      if (!cells.numbers || chart.numbers[at] == 0) continue;
      const std::string text = std::to_string(chart.numbers[at]);
      const Colour ink = chart.shares[at] > 0.45f ? Colour{255, 255, 255} : Colour{20, 20, 20};
      draw_text(image, y + (cells.size - 7 * cells.scale) / 2,
                x + (cells.size - text_width(text, cells.scale)) / 2, text,
                {.colour = ink, .scale = cells.scale});
    }
  if (cells.scale == 0) return image;
  const TextStyle across{.scale = cells.scale}, upwards{.scale = cells.scale, .upwards = true};
  const std::int64_t middle = (cells.size - 7 * cells.scale) / 2;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::string text =
        fit_text(chart.row_names[static_cast<std::size_t>(r)], cells.row_names - kLineGap, cells.scale);
    draw_text(image, top + r * cells.size + middle, left - kLineGap - text_width(text, cells.scale), text,
              across);
  }
  const bool narrow = widest_of(chart.column_names, cells.scale) < cells.size;
  for (std::int64_t c = 0; c < columns; ++c) {
    const std::string text =
        fit_text(chart.column_names[static_cast<std::size_t>(c)], cells.column_names - kLineGap, cells.scale);
    const std::int64_t at = left + c * cells.size;
    if (narrow)
      draw_text(image, top - kLineGap - 7 * cells.scale,
                at + (cells.size - text_width(text, cells.scale)) / 2, text, across);
    else
      draw_text(image, top - kLineGap, at + middle, text, upwards);
  }
  return image;
}

Image paint_below(const std::vector<Image>& parts, std::int64_t gap) {
  std::int64_t rows = -gap, columns = 0;
  for (const Image& part : parts) {
    rows += part.rows + gap;
    columns = std::max(columns, part.columns);
  }
  Image image = blank_image(rows, columns);
  std::int64_t row = 0;
  for (const Image& part : parts) {
    paste_image(image, part, row, 0);
    row += part.rows + gap;
  }
  return image;
}

}  // namespace locant
