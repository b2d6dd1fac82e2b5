#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "segment/mask.h"

namespace locant {

/// Run lengths of a mask down its columns, first of zeros, then of ones, and so on: COCO's uncompressed form.
/// A mask that is set at (0, 0) starts with a run of 0.
struct Rle {
  ImageSize size;
  std::vector<std::uint32_t> counts;
  friend bool operator==(const Rle&, const Rle&) = default;
};

/// Makes an Rle from rows of bits in any order that goes down, each a stretch of columns; what is never given
/// is zero. Holds one row and the places where columns change, not the mask.
class RleBuilder {
 public:
  /// Throws Error for sides below 1 and more than 2^28 pixels.
  explicit RleBuilder(ImageSize size);
  /// Bits (0 or 1) of row y from column x0 on; y grows from call to call. Throws Error outside the mask.
  void row(std::int64_t y, std::int64_t x0, std::span<const std::uint8_t> bits);
  /// The result; the builder starts afresh.
  Rle finish();

 private:
  struct Change {
    std::uint32_t x, y;
  };
  void close_rows(std::int64_t y);

  ImageSize size_;
  std::vector<std::uint8_t> last_;                   // bits of row last_y_
  std::int64_t last_y_ = -1;                         // -1: none yet
  std::int64_t first_column_ = 0, past_column_ = 0;  // what is set in last_ lies within
  std::vector<std::uint8_t> top_;                    // bits of row 0
  std::vector<Change> changes_;                      // pixels that differ from the one above, by rows
};

/// Throws Error when the bits are not rows * columns.
Rle mask_to_rle(const Mask& mask);
/// Throws Error when the counts do not add up to rows * columns.
Mask rle_to_mask(const Rle& rle);
/// Pixels set: the sum of every second count.
std::int64_t area_from_rle(const Rle& rle);
/// The set pixels' bounding box; 0 0 0 0 when there is none.
PixelBox rle_to_box(const Rle& rle);

/// COCO's compressed counts (pycocotools): from the fourth count on the difference to the count two before, 5
/// bits a character, lowest first, bit 32 where more follow, plus 48.
std::string coco_encode_rle(const Rle& rle);
/// Throws Error for characters outside 48 ... 111, numbers cut off or too large, negative counts, and counts
/// that do not add up to the size.
Rle coco_decode_rle(std::string_view text, ImageSize size);

}  // namespace locant
