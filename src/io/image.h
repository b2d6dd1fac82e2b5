#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace locant {

/// 8-bit RGB, row-major, no padding.
struct Image {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::uint8_t> rgb;  ///< (rows, columns, 3)
};

struct DecodeOptions {
  bool exif_orientation = true;       ///< turn the picture upright; PIL's convert("RGB") alone does not
  std::int64_t max_pixels = 1 << 28;  ///< larger headers are refused before anything is allocated
};

/// JPEG, PNG, WebP or binary PPM/PGM, by content, to the bytes of PIL's convert("RGB"): alpha is dropped (the
/// colour under a transparent pixel shows, nothing is blended), grey is repeated, ICC profiles and gamma are
/// passed over, CMYK follows Adobe's inverted inks. One difference: 16-bit grey PNG keeps the high byte, as
/// 16-bit colour does; PIL clips it at 255. PPM samples are scaled by their largest value. The first picture
/// counts where a file has several; animated WebP is refused. Truncated files are errors. `name` stands in
/// errors. Throws Error ("[image] NAME: ...").
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                   const DecodeOptions& options = {});
/// A file of at most 1 GiB, or standard input for "-" (at most 256 MiB). Throws Error, for folders too.
Image read_image(const std::string& path, const DecodeOptions& options = {});
/// 8-bit RGB PNG; temporary file and rename. Throws Error.
void write_png(const std::string& path, const Image& image);
/// True when the file name ends in an extension that decode_image reads (folders are filtered by it).
bool has_image_extension(const std::string& path);

}  // namespace locant
