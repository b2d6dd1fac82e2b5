#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/canvas.h"

namespace locant {

/// Points in the order in which they are joined; a number that is not finite (or is beyond 1e150) leaves a
/// gap.
struct ChartLine {
  std::string name;
  std::vector<double> x, y;  ///< as many of both
};

struct LineChart {
  std::string title, x_title;
  std::vector<ChartLine> lines;
  bool percent = false;  ///< y is a share of 1, and marked in per cent
  std::int64_t rows = 320, columns = 960;
};

/// Colour of line number `index`; they come round again.
Colour line_colour(std::size_t index);
/// Pixel (row, column) where the chart shows a point, of the axes that paint_lines chooses.
struct ChartPoint {
  double row = 0.0, column = 0.0;
};
ChartPoint chart_point(const LineChart& chart, double x, double y);
/// Title, names of the lines in their colours, grid and axes with round numbers at them, and the lines. Few
/// points are marked. Without a finite point it says so. Throws Error where x and y differ in number, and for
/// less than 100 x 200 pixels or more than 2^25 in all.
Image paint_lines(const LineChart& chart);

/// A table of counts, each cell a square.
struct MatrixChart {
  std::vector<std::string> heading;     ///< lines above it
  std::string row_title, column_title;  ///< what rows and columns are
  std::vector<std::string> row_names, column_names;
  std::vector<float> shares;          ///< (rows, columns), 0 white to 1 dark
  std::vector<std::int64_t> numbers;  ///< (rows, columns), written where cells have room; or none
  std::int64_t most = 2000;           ///< pixels a side
};

/// Cells shrink until the picture fits into `most` pixels a side; then numbers go, and then names. Throws
/// Error for other counts of names, shares and numbers, for no cell, and for more rows or columns than fit.
Image paint_matrix_chart(const MatrixChart& chart);

/// One below the other, left sides aligned, white between and beside. Throws Error as blank_image does.
Image paint_below(const std::vector<Image>& parts, std::int64_t gap);

}  // namespace locant
