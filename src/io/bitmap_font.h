#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/canvas.h"

namespace locant {

/// A character of the built-in font: 5 x 7 pixels above the base line, 2 below it, 1 to the next.
inline constexpr std::int64_t kGlyphAdvance = 6, kGlyphRows = 9;

struct TextStyle {
  Colour colour = {20, 20, 20};
  std::int64_t scale = 1;  ///< pixels of the picture for one of the font
  bool upwards = false;    ///< read from below to above: (row, column) is then the bottom left corner
};

/// Pixels that a line takes along its direction. UTF-8; a character outside ASCII is one box.
std::int64_t text_width(std::string_view text, std::int64_t scale = 1);
/// The text, or what of its beginning fits into so many pixels, with ".." behind it.
std::string fit_text(std::string_view text, std::int64_t pixels, std::int64_t scale = 1);
/// `row`, `column`: the top left corner of the first character. What lies outside the picture is not drawn.
void draw_text(Image& image, std::int64_t row, std::int64_t column, std::string_view text,
               const TextStyle& style = {});

}  // namespace locant
