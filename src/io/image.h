#pragma once

#include <cstdint>
#include <functional>
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

/// What becomes of 16-bit samples where a picture has them. Ranges are taken over all colours and pixels of
/// the picture together (alpha left out), so hues stay.
enum class Depth16 {
  high,        ///< the high byte: 0 to 65535 is black to white; a 12-bit camera's picture comes out dark
  range,       ///< from the smallest to the largest sample: round(255 (v - smallest) / (largest - smallest))
  percentile,  ///< the same from the sample that 0.1 % lie below to the one that 0.1 % lie above
};

struct DecodeOptions {
  bool exif_orientation = true;       ///< turn the picture upright; PIL's convert("RGB") alone does not
  std::int64_t max_pixels = 1 << 28;  ///< larger headers are refused before anything is allocated
  std::int64_t page = 1;              ///< of a TIFF, from 1; other files have one
  Depth16 depth16 = Depth16::high;
  /// Gets lines for people, each with the name: pages that are left out, 16 bits that come out dark.
  std::function<void(const std::string&)> note = {};
};

/// JPEG, PNG, WebP, TIFF or binary PPM/PGM, by content, to the bytes of PIL's convert("RGB"): alpha is
/// dropped (the colour under a transparent pixel shows, nothing is blended), grey is repeated, ICC profiles
/// and gamma are passed over, CMYK JPEG follows Adobe's inverted inks. One difference: 16-bit grey becomes
/// bytes by `depth16`, as 16-bit colour does; PIL clips it at 255. PPM samples are scaled by their largest
/// value instead of the high byte. TIFF: grey, RGB, YCbCr and palettes of up to 8 bits, and 16-bit grey and
/// RGB; other kinds are errors that say how to convert. Animated WebP is refused. Truncated files are errors;
/// PNG check sums of the pixels' chunks do not count and the end may lack, as PIL has it. `name` stands in
/// errors. Throws Error
/// ("[image] NAME: ...").
Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                   const DecodeOptions& options = {});
/// A file of at most 1 GiB, or standard input for "-" (at most 256 MiB). Throws Error, for folders too.
Image read_image(const std::string& path, const DecodeOptions& options = {});
/// 8-bit RGB PNG; temporary file and rename. Throws Error.
void write_png(const std::string& path, const Image& image);
/// True when the file name ends in an extension that decode_image reads (folders are filtered by it).
bool has_image_extension(const std::string& path);

}  // namespace locant
