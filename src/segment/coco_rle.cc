#include "core/error.h"
#include "segment/rle.h"

namespace locant {
namespace {

constexpr std::int64_t kMaxCount = std::int64_t{1} << 28;

/// One number of the string from `at` on, which moves past it: 5 bits a character, the last one's bit 16 is
/// the sign.
std::int64_t read_number(std::string_view text, std::size_t& at) {
  const std::size_t start = at;
  std::int64_t value = 0;
  for (int shift = 0;; shift += 5) {
    require(at < text.size(), "coco_rle", "the text ends within the number at character {}", start);
    require(shift <= 30, "coco_rle", "the number at character {} is too large", start);
    const int c = static_cast<unsigned char>(text[at]) - 48;
    require(c >= 0 && c < 64, "coco_rle", "character {} has code {}: 48 to 111 are allowed", at, c + 48);
    ++at;
    value |= static_cast<std::int64_t>(c & 31) << shift;
    if ((c & 32) == 0) {
      if ((c & 16) != 0) value -= std::int64_t{1} << (shift + 5);
      return value;
    }
  }
}

}  // namespace

std::string coco_encode_rle(const Rle& rle) {
  std::string out;
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    std::int64_t value = rle.counts[i];
    if (i > 2) value -= rle.counts[i - 2];
    for (bool more = true; more;) {
      const std::int64_t bits = value & 31;
      value >>= 5;  // arithmetic: the sign stays
      more = (bits & 16) != 0 ? value != -1 : value != 0;
      out.push_back(static_cast<char>(48 + bits + (more ? 32 : 0)));
    }
  }
  return out;
}

Rle coco_decode_rle(std::string_view text, ImageSize size) {
  require(size.rows >= 1 && size.columns >= 1 && size.rows <= kMaxCount / size.columns, "coco_rle",
          "a mask of {} x {} pixels: sides start at 1, {} pixels are the most", size.columns, size.rows,
          kMaxCount);
  Rle out{size, {}};
  std::int64_t sum = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t i = out.counts.size();
    const std::int64_t count = read_number(text, at) + (i > 2 ? out.counts[i - 2] : 0);
    require(count >= 0 && count <= kMaxCount, "coco_rle", "run {} is {} pixels long", i, count);
    sum += count;
    out.counts.push_back(static_cast<std::uint32_t>(count));
  }
  require(sum == size.rows * size.columns, "coco_rle", "runs of {} pixels together are no mask of {} x {}",
          sum, size.columns, size.rows);
  return out;
}

}  // namespace locant
