#pragma once

#include <array>
#include <cstdint>

#include "io/image.h"

namespace locant {

using Colour = std::array<std::uint8_t, 3>;  ///< red, green, blue

/// A picture of one colour. Throws Error for sides below 1 and for more than 2^25 pixels, before anything is
/// allocated.
Image blank_image(std::int64_t rows, std::int64_t columns, const Colour& colour = {255, 255, 255});

// What lies outside the picture is not drawn.
void fill_rect(Image& image, std::int64_t row, std::int64_t column, std::int64_t rows, std::int64_t columns,
               const Colour& colour);
void paste_image(Image& image, const Image& part, std::int64_t row, std::int64_t column);
/// A straight line of `width` pixels between two points (row, column), pixel centres at whole numbers; its
/// edge is blended with what is below it.
void draw_line(Image& image, double row0, double column0, double row1, double column1, double width,
               const Colour& colour);

}  // namespace locant
