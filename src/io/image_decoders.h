#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/image.h"

namespace locant::image_io {

using Bytes = std::span<const std::uint8_t>;

/// A picture as stored, and the EXIF orientation that stands beside it (1 when there is none).
struct Decoded {
  Image image;
  int orientation = 1;
};

/// Each throws Error("image", "NAME: reason") for anything that is not a whole, well-formed picture.
Decoded decode_jpeg(Bytes bytes, const std::string& name, std::int64_t max_pixels);
Decoded decode_png(Bytes bytes, const std::string& name, std::int64_t max_pixels);
Decoded decode_webp(Bytes bytes, const std::string& name, std::int64_t max_pixels);
Decoded decode_ppm(Bytes bytes, const std::string& name, std::int64_t max_pixels);

/// An 8-bit RGB PNG in memory.
std::vector<std::uint8_t> encode_png(const Image& image, const std::string& name);

/// Throws Error unless both sides are at least 1 and the picture has at most max_pixels.
void check_size(std::int64_t rows, std::int64_t columns, const std::string& name, std::int64_t max_pixels);
/// A picture of zeros.
Image make_image(std::int64_t rows, std::int64_t columns);

}  // namespace locant::image_io
