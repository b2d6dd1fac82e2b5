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

enum class Format { jpeg, png, webp, ppm, tiff };
/// By the file's first bytes; Error that names what it seems to be instead.
Format format_of(Bytes bytes, const std::string& name);

/// What a path holds, and how errors call it.
struct PictureBytes {
  std::string name;
  std::vector<std::uint8_t> bytes;
};
/// As read_image; stops early where the first bytes are no picture's. Throws Error.
PictureBytes read_picture_bytes(const std::string& path);

/// Each throws Error("image", "NAME: reason") for anything that is not a whole, well-formed picture.
Decoded decode_jpeg(Bytes bytes, const std::string& name, const DecodeOptions& options);
Decoded decode_png(Bytes bytes, const std::string& name, const DecodeOptions& options);
Decoded decode_webp(Bytes bytes, const std::string& name, const DecodeOptions& options);
Decoded decode_ppm(Bytes bytes, const std::string& name, const DecodeOptions& options);
Decoded decode_tiff(Bytes bytes, const std::string& name, const DecodeOptions& options);

/// Throws Error when a page is asked for that the format cannot have.
void check_page(Format format, const std::string& name, const DecodeOptions& options);

/// An 8-bit RGB PNG in memory.
std::vector<std::uint8_t> encode_png(const Image& image, const std::string& name);

/// Throws Error unless both sides are at least 1 and the picture has at most max_pixels.
void check_size(std::int64_t rows, std::int64_t columns, const std::string& name, std::int64_t max_pixels);
/// A picture of zeros.
Image make_image(std::int64_t rows, std::int64_t columns);

}  // namespace locant::image_io
