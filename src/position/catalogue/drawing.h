#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "position/catalogue/encoding.h"

namespace locant {

/// What an encoding looks like: numbers to be printed or painted.
struct Drawing {
  std::int64_t rows = 0, columns = 0;
  std::vector<float> numbers;  ///< (rows, columns); NaN: nothing there (no row of the table, not seen, a gap)
  bool counts = false;         ///< whole numbers from 0: rows of a table, windows, counts
  bool pairs = false;          ///< row i belongs to query i, column j to key j
};

/// A case that shows the encoding well: 8 x 8 tokens, 64 in a sequence, or a clip of 4 x 4 x 4, four heads of
/// width 16 (fewer channels where each is a panel of its own); where the variant does not suit these, the
/// largest case of the entry that does. Throws Error for a variant that the encoding does not have.
EncodingCase drawing_case(const Encoding& encoding, const std::string& variant = {});

/// Draws the index matrix, or the entry's own picture where it has one. Throws Error when the case does not
/// suit the encoding, or is too large to draw: at most 4096 tokens on each side, 64 heads, heads of 512
/// channels, 2^24 pairs over all heads, 2^31 products of their channels.
Drawing draw_encoding(const Encoding& encoding, const EncodingCase& c);

/// Row `query` (the prefix counts) of a drawing of pairs, laid over the grid of the keys: frames as
/// panels in reading order, the prefix in lines of its own above. Throws Error for a drawing that is none of
/// pairs and for a query outside.
Drawing query_drawing(const Drawing& drawing, const EncodingCase& c, std::int64_t query);

}  // namespace locant
