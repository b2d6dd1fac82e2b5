#pragma once

#include <cstdint>
#include <string>

#include "io/image.h"
#include "position/catalogue/drawing.h"

namespace locant::cli {

/// "12", "7x7", "4x7x7": a sequence, a grid, frames of a grid. Throws Error.
Grid parse_grid(const std::string& text);

/// The numbers, each a square of `cell` pixels (0: about 256 pixels a side); where they are of pairs on a
/// grid, the middle query's row over the keys' grid beside them; rows of a table are coloured by rank, in
/// each of the two by its own. Throws Error when that is too large a picture.
Image painted(const Drawing& drawing, const EncodingCase& c, std::int64_t cell);

/// One panel.
Image painted(const Drawing& drawing, std::int64_t cell);

/// Lines of numbers in aligned columns, "." for nothing.
std::string drawing_text(const Drawing& drawing);

/// One JSON object: the encoding, the case, rows, columns, and the numbers row by row, null for nothing.
std::string drawing_json(const Drawing& drawing, const Encoding& encoding, const EncodingCase& c);

}  // namespace locant::cli
