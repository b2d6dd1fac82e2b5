#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "io/image.h"

namespace locant {

/// How numbers become colours.
enum class Palette {
  ranks,      ///< from violet over blue, green and yellow to red by the rank among the different numbers
  diverging,  ///< blue below zero, white at zero, red above, as far as the largest magnitude
  from_zero,  ///< white at zero (or below) to dark blue at the largest
};

/// The colours of a set of numbers; NaN and infinities are grey, whatever the palette.
class ColourScale {
 public:
  using Colour = std::array<std::uint8_t, 3>;
  static constexpr Colour kNothing = {150, 150, 150};

  /// Fits the scale to the finite ones among the numbers.
  ColourScale(std::span<const float> numbers, Palette palette);
  Colour operator()(float number) const;

 private:
  Palette palette_;
  std::vector<float> sorted_;  ///< the different numbers, for ranks
  float largest_ = 0.0f;       ///< magnitude
};

/// numbers (rows, columns), each a square of `cell` pixels. Throws Error for other counts of numbers and for
/// more than 2^25 pixels, before anything is allocated.
Image paint_matrix(std::span<const float> numbers, std::int64_t rows, std::int64_t columns,
                   const ColourScale& scale, std::int64_t cell);

/// One beside the other, tops aligned, white between and below. Throws Error as paint_matrix does.
Image paint_beside(const Image& left, const Image& right, std::int64_t gap);

}  // namespace locant
