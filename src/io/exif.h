#pragma once

#include <cstdint>
#include <span>

#include "io/image.h"

namespace locant {

/// Orientation (tag 0x0112 of IFD 0) of an EXIF block, with or without its leading "Exif\0\0". 1 (upright)
/// when the tag is absent, out of 1..8, or the block is malformed: a broken tag never spoils a good picture.
int exif_orientation(std::span<const std::uint8_t> block);

/// Where the pixels of an upright picture lie in the stored one of `rows` x `columns`, by tag 0x0112; values
/// out of 2..8 leave it as it is.
class Turn {
 public:
  Turn(int orientation, std::int64_t rows, std::int64_t columns);
  std::int64_t rows() const { return exchanged_ ? stored_columns_ : stored_rows_; }
  std::int64_t columns() const { return exchanged_ ? stored_rows_ : stored_columns_; }
  bool none() const { return !exchanged_ && !reverse_y_ && !reverse_x_; }
  /// Index of the stored pixel that stands at row r and column c of the upright picture.
  std::int64_t source(std::int64_t r, std::int64_t c) const {
    const std::int64_t y = exchanged_ ? c : r, x = exchanged_ ? r : c;
    return (reverse_y_ ? stored_rows_ - 1 - y : y) * stored_columns_ +
           (reverse_x_ ? stored_columns_ - 1 - x : x);
  }

 private:
  std::int64_t stored_rows_, stored_columns_;
  bool exchanged_, reverse_y_, reverse_x_;
};

/// The picture as it should be seen: one of the eight turns and mirrors that the tag stands for.
Image apply_orientation(Image image, int orientation);

}  // namespace locant
