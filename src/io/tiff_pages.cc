// The chain of directories alone: libtiff counts pages in quadratic time, and gives up a file for its last
// link.
#include "io/tiff_pages.h"

#include <unordered_set>

namespace locant::image_io {
namespace {

constexpr std::size_t kMostPages = 1000000;

struct Reader {
  Bytes bytes;
  bool big_endian = false;

  /// False when the number does not lie in the file.
  bool read(std::uint64_t offset, std::uint64_t count, std::uint64_t& value) const {
    if (offset > bytes.size() || count > bytes.size() - offset) return false;
    value = 0;
    for (std::uint64_t i = 0; i < count; ++i)
      value = value << 8 | bytes[offset + (big_endian ? i : count - 1 - i)];
    return true;
  }
};

}  // namespace

std::vector<std::uint64_t> tiff_page_offsets(Bytes bytes) {
  std::vector<std::uint64_t> pages;
  if (bytes.size() < 8) return pages;
  const Reader reader{bytes, bytes[0] == 'M'};
  const bool big = bytes[reader.big_endian ? 3 : 2] == 43;  // BigTIFF: eight bytes where TIFF has four
  const std::uint64_t count_bytes = big ? 8 : 2, entry_bytes = big ? 20 : 12, offset_bytes = big ? 8 : 4;
  std::unordered_set<std::uint64_t> seen;
  std::uint64_t at = big ? 8 : 4, offset = 0, entries = 0;
  while (pages.size() < kMostPages && reader.read(at, offset_bytes, offset) && offset != 0 &&
         reader.read(offset, count_bytes, entries) && entries <= bytes.size() / entry_bytes &&
         seen.insert(offset).second) {
    pages.push_back(offset);
    at = offset + count_bytes + entries * entry_bytes;
  }
  return pages;
}

}  // namespace locant::image_io
