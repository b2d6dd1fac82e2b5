#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/image_decoders.h"

namespace locant::image_io {

struct PngDecoder;

/// A PNG in memory, by libpng, with Pillow's idea of what is whole: every row has to be there and the deflate
/// stream's own check sum has to be right where it is there; check sums of the chunks that hold pixels, and
/// all behind the last of them, may be wrong or absent, unless a chunk with a good name is cut off.
class PngReader {
 public:
  enum class Kind { grey, rgb, palette };
  /// What read() writes: 8-bit RGB; 16-bit RGB (of 16-bit files); the samples as stored with their alpha, one
  /// byte each up to 8 bits.
  enum class Form { rgb8, rgb16, stored };

  /// Reads the header. Throws Error; `name` and `bytes` must outlive it.
  PngReader(Bytes bytes, const std::string& name, std::int64_t max_pixels);
  ~PngReader();

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  int depth() const { return depth_; }  ///< bits a sample: 1, 2, 4, 8, 16
  Kind kind() const { return kind_; }
  bool alpha() const { return alpha_; }
  /// Colours of a palette, three bytes each, and the opacity of its first entries; empty without.
  const std::vector<std::uint8_t>& palette() const { return palette_; }
  const std::vector<std::uint8_t>& opacity() const { return opacity_; }
  /// The one colour that is transparent: one sample, or three for RGB; empty without.
  const std::vector<std::uint16_t>& clear_colour() const { return clear_colour_; }
  /// EXIF's, 1 to 8, wherever it stands in the file. After read().
  int orientation() const { return orientation_; }

  /// Once. `out`: rows * columns * samples a pixel, as bytes or 16 bits of this machine's order. Throws
  /// Error.
  void read(Form form, void* out);

 private:
  void read_colours();
  void read_tail();
  std::unique_ptr<PngDecoder> decoder_;
  const std::string& name_;
  std::int64_t rows_ = 0, columns_ = 0;
  int depth_ = 0, orientation_ = 1;
  Kind kind_ = Kind::grey;
  bool alpha_ = false;
  std::vector<std::uint8_t> palette_, opacity_;
  std::vector<std::uint16_t> clear_colour_;
};

}  // namespace locant::image_io
