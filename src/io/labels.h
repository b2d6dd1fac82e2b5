#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/image.h"

namespace locant {

/// A picture of objects: each pixel's value says whose it is, 0 is background.
struct Labels {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::uint32_t> values;  ///< (rows, columns)
};

/// The values of a mask as stored, none merged or rounded:
/// - grey of 1 to 16 bits, and in TIFF whole numbers of 32 and 64 bits or floating point: the number itself.
///   Negative, broken and larger ones than 2^32 - 1 are errors. One-bit TIFF where white is 0 is turned
///   round.
/// - palettes: the index, whatever colours it has. 0 is background; where its colour is not black, but a used
///   index's is (as programs that shrink palettes leave it), that black is background and 0 takes its number.
///   Index 255 in Pascal VOC's colour (224, 224, 192) is VOC's border of objects, and background.
/// - RGB: red * 65536 + green * 256 + blue, so black is background; 16-bit colours are numbered from 1 in
/// their
///   order.
/// A pixel whose opacity is 0 is background; other opacities do not count. JPEG and lossy WebP are errors:
/// their colours are not exact. page, max_pixels and exif_orientation of the options count. Throws Error.
Labels decode_labels(std::span<const std::uint8_t> bytes, const std::string& name,
                     const DecodeOptions& options = {});
/// A file, or standard input for "-", as read_image. Throws Error.
Labels read_labels(const std::string& path, const DecodeOptions& options = {});

}  // namespace locant
