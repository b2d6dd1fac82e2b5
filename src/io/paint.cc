#include "io/paint.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::int64_t kMostPixels = 1 << 25;

using Stop = std::array<float, 3>;
// Hues that the eye tells apart, in an order in which neighbours are alike; no grey, which stands for
// nothing.
constexpr std::array<Stop, 7> kRankStops = {{{72, 29, 111},
                                             {63, 87, 196},
                                             {38, 158, 214},
                                             {43, 188, 124},
                                             {178, 212, 54},
                                             {248, 160, 48},
                                             {196, 36, 28}}};
constexpr std::array<Stop, 5> kDivergingStops = {
    {{20, 60, 140}, {110, 165, 215}, {255, 255, 255}, {235, 140, 110}, {150, 20, 35}}};
constexpr std::array<Stop, 3> kFromZeroStops = {{{255, 255, 255}, {90, 160, 205}, {10, 40, 100}}};

template <std::size_t N>
ColourScale::Colour between(const std::array<Stop, N>& stops, float t) {
  const float at = std::clamp(t, 0.0f, 1.0f) * static_cast<float>(N - 1);
  const std::size_t low = std::min(static_cast<std::size_t>(at), N - 2);
  const float share = at - static_cast<float>(low);
  ColourScale::Colour colour{};
  for (std::size_t c = 0; c < 3; ++c)
    colour[c] =
        static_cast<std::uint8_t>(std::lround(stops[low][c] + share * (stops[low + 1][c] - stops[low][c])));
  return colour;
}

void check_pixels(std::int64_t rows, std::int64_t columns) {
  require(rows <= kMostPixels && columns <= kMostPixels && rows * columns <= kMostPixels, "paint",
          "a picture of {} x {} pixels; at most {} in all can be painted, smaller cells were expected",
          columns, rows, kMostPixels);
}

Image blank(std::int64_t rows, std::int64_t columns) {
  return {rows, columns, std::vector<std::uint8_t>(static_cast<std::size_t>(rows * columns * 3), 255)};
}

}  // namespace

ColourScale::ColourScale(std::span<const float> numbers, Palette palette) : palette_(palette) {
  for (const float number : numbers) {
    if (!std::isfinite(number)) continue;
    largest_ = std::max(largest_, std::abs(number));
    if (palette == Palette::ranks) sorted_.push_back(number);
  }
  std::sort(sorted_.begin(), sorted_.end());
  sorted_.erase(std::unique(sorted_.begin(), sorted_.end()), sorted_.end());
}

ColourScale::Colour ColourScale::operator()(float number) const {
  if (!std::isfinite(number)) return kNothing;
  if (palette_ == Palette::ranks) {
    const auto rank =
        static_cast<float>(std::lower_bound(sorted_.begin(), sorted_.end(), number) - sorted_.begin());
    const auto last = static_cast<float>(sorted_.size()) - 1.0f;
    return between(kRankStops, last > 0.0f ? rank / last : 0.5f);
  }
  const float share = largest_ > 0.0f ? number / largest_ : 0.0f;
  return palette_ == Palette::diverging ? between(kDivergingStops, 0.5f + 0.5f * share)
                                        : between(kFromZeroStops, share);
}

Image paint_matrix(std::span<const float> numbers, std::int64_t rows, std::int64_t columns,
                   const ColourScale& scale, std::int64_t cell) {
  require(rows >= 1 && columns >= 1 && cell >= 1 && cell <= kMostPixels && rows <= kMostPixels &&
              columns <= kMostPixels && static_cast<std::int64_t>(numbers.size()) == rows * columns,
          "paint", "{} numbers as {} x {} cells of {} pixels; a number a cell was expected", numbers.size(),
          rows, columns, cell);
  check_pixels(rows * cell, columns * cell);
  Image out = blank(rows * cell, columns * cell);
  const std::int64_t width = out.columns * 3;
  for (std::int64_t y = 0; y < rows; ++y) {
    std::uint8_t* line = out.rgb.data() + y * cell * width;
    for (std::int64_t x = 0; x < out.columns; ++x) {
      const ColourScale::Colour colour = scale(numbers[static_cast<std::size_t>(y * columns + x / cell)]);
      std::copy(colour.begin(), colour.end(), line + 3 * x);
    }
    for (std::int64_t again = 1; again < cell; ++again) std::copy_n(line, width, line + again * width);
  }
  return out;
}

Image paint_beside(const Image& left, const Image& right, std::int64_t gap) {
  require(gap >= 0 && gap <= kMostPixels, "paint", "a gap of {} pixels", gap);
  const std::int64_t rows = std::max(left.rows, right.rows);
  check_pixels(rows, left.columns + gap + right.columns);
  Image out = blank(rows, left.columns + gap + right.columns);
  const auto paste = [&out](const Image& part, std::int64_t column) {
    for (std::int64_t y = 0; y < part.rows; ++y)
      std::copy_n(part.rgb.data() + y * part.columns * 3, part.columns * 3,
                  out.rgb.data() + (y * out.columns + column) * 3);
  };
  paste(left, 0);
  paste(right, left.columns + gap);
  return out;
}

}  // namespace locant
