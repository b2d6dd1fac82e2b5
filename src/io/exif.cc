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

// Tags 5 to 8 exchange rows and columns: the stored row then follows the upright picture's column.
Turn::Turn(int orientation, std::int64_t rows, std::int64_t columns)
    : stored_rows_(rows),
      stored_columns_(columns),
      exchanged_(orientation >= 5 && orientation <= 8),
      reverse_y_(orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7),
      reverse_x_(orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) {}

Image apply_orientation(Image image, int orientation) {
  const Turn turn(orientation, image.rows, image.columns);
  if (turn.none()) return image;
  Image upright;
  upright.rows = turn.rows();
  upright.columns = turn.columns();
  upright.rgb.resize(image.rgb.size());
  parallel_for(upright.rows, 64, [&](std::int64_t begin, std::int64_t end) {
    std::uint8_t* out = upright.rgb.data() + 3 * begin * upright.columns;
    for (std::int64_t r = begin; r < end; ++r) {
      for (std::int64_t c = 0; c < upright.columns; ++c, out += 3)
        std::copy_n(image.rgb.data() + 3 * turn.source(r, c), 3, out);
    }
  });
  return upright;
}

}  // namespace locant
