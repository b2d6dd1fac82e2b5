#include "io/canvas.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::int64_t kMostCanvasPixels = 1 << 25;

std::uint8_t* pixel_at(Image& image, std::int64_t row, std::int64_t column) {
  return image.rgb.data() + (row * image.columns + column) * 3;
}

}  // namespace

Image blank_image(std::int64_t rows, std::int64_t columns, const Colour& colour) {
  require(rows >= 1 && columns >= 1 && rows <= kMostCanvasPixels && columns <= kMostCanvasPixels &&
              rows * columns <= kMostCanvasPixels,
          "paint", "a picture of {} x {} pixels; 1 to {} in all can be painted", columns, rows,
          kMostCanvasPixels);
  Image image{rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(rows * columns * 3))};
  fill_rect(image, 0, 0, rows, columns, colour);
  return image;
}

void fill_rect(Image& image, std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns,
               const Colour& colour) {
  const std::int64_t bottom = std::min(row + rows, image.rows),
                     right = std::min(column + columns, image.columns);
  for (std::int64_t y = std::max<std::int64_t>(row, 0); y < bottom; ++y)
    for (std::int64_t x = std::max<std::int64_t>(column, 0); x < right; ++x)
      std::copy(colour.begin(), colour.end(), pixel_at(image, y, x));
}

void paste_image(Image& image, const Image& part, std::int64_t row, std::int64_t column) {
  const std::int64_t left = std::max<std::int64_t>(-column, 0),
                     right = std::min(part.columns, image.columns - column);
  if (left >= right) return;
  for (std::int64_t y = std::max<std::int64_t>(-row, 0); y < std::min(part.rows, image.rows - row); ++y)
    std::copy_n(part.rgb.data() + (y * part.columns + left) * 3, (right - left) * 3,
                pixel_at(image, row + y, column + left));
}

void draw_line(Image& image, double row0, double column0, double row1, double column1, double width,
               const Colour& colour) {
  const double reach = width / 2 + 1, down = row1 - row0, along = column1 - column0,
               length2 = down * down + along * along;
  const auto first = [&](double a, double b) {
    return std::max<std::int64_t>(std::llround(std::floor(std::min(a, b) - reach)), 0);
  };
  const auto last = [&](double a, double b, std::int64_t end) {
    return std::min<std::int64_t>(std::llround(std::ceil(std::max(a, b) + reach)), end - 1);
  };
  for (std::int64_t y = first(row0, row1); y <= last(row0, row1, image.rows); ++y)
    for (std::int64_t x = first(column0, column1); x <= last(column0, column1, image.columns); ++x) {
      const double from_row = static_cast<double>(y) - row0, from_column = static_cast<double>(x) - column0;
      const double share =
          length2 > 0.0 ? std::clamp((from_row * down + from_column * along) / length2, 0.0, 1.0) : 0.0;
      const double rows_off = from_row - share * down, columns_off = from_column - share * along;
      const double distance = std::sqrt(rows_off * rows_off + columns_off * columns_off);
      const double cover = std::clamp(width / 2 + 0.5 - distance, 0.0, 1.0);
      if (cover <= 0.0) continue;
      std::uint8_t* at = pixel_at(image, y, x);
      for (std::size_t c = 0; c < 3; ++c)
        at[c] = static_cast<std::uint8_t>(std::lround(at[c] + cover * (colour[c] - at[c])));
    }
}

}  // namespace locant
