#include "io/exif.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "core/parallel.h"

namespace locant {
namespace {

constexpr std::uint32_t kOrientationTag = 0x0112;
constexpr std::uint32_t kTypeShort = 3;
constexpr std::uint32_t kTypeLong = 4;

/// Reads TIFF integers; anything outside the block reads as 0, which no caller takes for a valid field.
struct TiffReader {
  std::span<const std::uint8_t> bytes;
  bool big_endian = false;

  std::uint32_t read(std::size_t offset, std::size_t count) const {
    if (offset > bytes.size() || count > bytes.size() - offset) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = big_endian ? i : count - 1 - i;
      value = value << 8 | bytes[offset + at];
    }
    return value;
  }
};

}  // namespace

int exif_orientation(std::span<const std::uint8_t> block) {
  constexpr std::string_view kPrefix("Exif\0\0", 6);
  if (block.size() >= kPrefix.size() && std::memcmp(block.data(), kPrefix.data(), kPrefix.size()) == 0) {
    block = block.subspan(kPrefix.size());
  }
  if (block.size() < 8) return 1;
  TiffReader tiff{block};
  if (block[0] == 'M' && block[1] == 'M') {
    tiff.big_endian = true;
  } else if (block[0] != 'I' || block[1] != 'I') {
    return 1;
  }
  if (tiff.read(2, 2) != 42) return 1;
  const std::size_t directory = tiff.read(4, 4);
  const std::size_t entries = tiff.read(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > block.size()) return 1;
    if (tiff.read(entry, 2) != kOrientationTag) continue;
    const std::uint32_t type = tiff.read(entry + 2, 2);
    if ((type != kTypeShort && type != kTypeLong) || tiff.read(entry + 4, 4) != 1) return 1;
    const std::uint32_t value = tiff.read(entry + 8, type == kTypeShort ? 2 : 4);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image apply_orientation(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  // Tags 5 to 8 exchange rows and columns: the source row then follows the result's column.
  const bool exchanged = orientation >= 5;
  const bool reverse_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const bool reverse_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const std::int64_t rows = image.rows, columns = image.columns;
  Image upright;
  upright.rows = exchanged ? columns : rows;
  upright.columns = exchanged ? rows : columns;
  upright.rgb.resize(image.rgb.size());
  parallel_for(upright.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    std::uint8_t* out = upright.rgb.data() + 3 * begin * upright.columns;
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < upright.columns; ++c, out += 3) {
        const std::int64_t y = exchanged ? c : r;
        const std::int64_t x = exchanged ? r : c;
        const std::int64_t source =
            (reverse_y ? rows - 1 - y : y) * columns + (reverse_x ? columns - 1 - x : x);
        std::copy_n(image.rgb.data() + 3 * source, 3, out);
      }
    }
  });
  return upright;
}

}  // namespace locant
