#include "segment/rle.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::int64_t kMaxRunPixels = 1 << 28;

std::int64_t pixels_of(ImageSize size, const char* op) {
  require(size.rows >= 1 && size.columns >= 1 && size.rows <= kMaxRunPixels / size.columns, op,
          "a mask of {} x {} pixels: sides start at 1, {} pixels are the most", size.columns, size.rows,
          kMaxRunPixels);
  return size.rows * size.columns;
}

void check_counts(const Rle& rle, const char* op) {
  const std::int64_t pixels = pixels_of(rle.size, op);
  std::int64_t sum = 0;
  for (const std::uint32_t count : rle.counts) sum += count;
  require(sum == pixels, op, "runs of {} pixels together are no mask of {} x {}", sum, rle.size.columns,
          rle.size.rows);
}

}  // namespace

RleBuilder::RleBuilder(ImageSize size) : size_(size) {
  pixels_of(size, "rle");
  const auto columns = static_cast<std::size_t>(size.columns);
  last_.assign(columns, 0);
  top_.assign(columns, 0);
}

/// The set columns of the last row end where row y has nothing.
void RleBuilder::close_rows(std::int64_t y) {
  if (last_y_ < 0 || last_y_ + 1 >= y) return;
  for (std::int64_t x = first_column_; x < past_column_; ++x) {
    if (last_[x] == 0) continue;
    changes_.push_back({static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(last_y_ + 1)});
    last_[x] = 0;
  }
  first_column_ = past_column_ = 0;
}

void RleBuilder::row(std::int64_t y, std::int64_t x0, std::span<const std::uint8_t> bits) {
  const std::int64_t past = x0 + static_cast<std::int64_t>(bits.size());
  require(y > last_y_ && y < size_.rows && x0 >= 0 && past <= size_.columns, "rle",
          "row {} with columns {} ... {} after row {} of a mask of {} x {}", y, x0, past, last_y_,
          size_.columns, size_.rows);
  close_rows(y);
  const std::int64_t begin = past_column_ > first_column_ ? std::min(x0, first_column_) : x0;
  const std::int64_t end = std::max(past, past_column_);
  std::uint8_t* last = last_.data();
  const std::uint8_t* now = bits.data() - x0;
  const auto note = [&](std::int64_t x, std::uint8_t bit) {
    if (bit == last[x]) return;
    last[x] = bit;
    if (y > 0) changes_.push_back({static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y)});
  };
  for (std::int64_t x = begin; x < x0; ++x) note(x, 0);
  std::int64_t x = x0;
  // Rows mostly repeat the one above: eight pixels at a time.
  for (; x + 8 <= past; x += 8) {
    if (std::memcmp(last + x, now + x, 8) == 0) continue;
    for (std::int64_t i = x; i < x + 8; ++i) note(i, now[i]);
  }
  for (; x < past; ++x) note(x, now[x]);
  for (; x < end; ++x) note(x, 0);
  first_column_ = x0;
  past_column_ = past;
  last_y_ = y;
  if (y == 0) std::copy(bits.begin(), bits.end(), top_.begin() + x0);
}

Rle RleBuilder::finish() {
  close_rows(size_.rows);
  // A counting sort by column; within a column the changes are in order already.
  std::vector<std::size_t> at(static_cast<std::size_t>(size_.columns) + 1, 0);
  for (const Change& change : changes_) ++at[change.x + 1];
  for (std::size_t x = 1; x < at.size(); ++x) at[x] += at[x - 1];
  std::vector<std::uint32_t> sorted(changes_.size());
  std::vector<std::size_t> next(at.begin(), at.end() - 1);
  for (const Change& change : changes_) sorted[next[change.x]++] = change.y;

  Rle out{size_, {}};
  out.counts.reserve(changes_.size() + 2);
  std::int64_t done = 0;
  std::uint8_t bit = 0;
  const auto change_at = [&](std::int64_t place) {
    out.counts.push_back(static_cast<std::uint32_t>(place - done));
    done = place;
    bit ^= 1;
  };
  for (std::int64_t x = 0; x < size_.columns; ++x) {
    if (top_[x] != bit) change_at(x * size_.rows);
    for (std::size_t i = at[x]; i < at[x + 1]; ++i) change_at(x * size_.rows + sorted[i]);
  }
  out.counts.push_back(static_cast<std::uint32_t>(size_.rows * size_.columns - done));
  *this = RleBuilder(size_);
  return out;
}

Rle mask_to_rle(const Mask& mask) {
  check_mask(mask, "mask_to_rle");
  RleBuilder builder(mask.size);
  const auto columns = static_cast<std::size_t>(mask.size.columns);
  for (std::int64_t y = 0; y < mask.size.rows; ++y)
    builder.row(y, 0, {mask.bits.data() + static_cast<std::size_t>(y) * columns, columns});
  return builder.finish();
}

Mask rle_to_mask(const Rle& rle) {
  check_counts(rle, "rle_to_mask");
  const std::int64_t rows = rle.size.rows, columns = rle.size.columns;
  Mask mask{rle.size, std::vector<std::uint8_t>(static_cast<std::size_t>(rows * columns), 0)};
  // Where a column changes, and each column's first bit, then a running exclusive or down the rows: along
  // memory, where filling columns would go across it.
  std::int64_t end = 0, column = 0;
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    end += rle.counts[i];
    for (; column < columns && column * rows < end; ++column) mask.bits[column] = i % 2;
    if (end % rows != 0) mask.bits[(end % rows) * columns + end / rows] ^= 1;
  }
  for (std::int64_t y = 1; y < rows; ++y) {
    std::uint8_t* row = mask.bits.data() + y * columns;
    const std::uint8_t* above = row - columns;
    for (std::int64_t x = 0; x < columns; ++x) row[x] = static_cast<std::uint8_t>(row[x] ^ above[x]);
  }
  return mask;
}

std::int64_t area_from_rle(const Rle& rle) {
  std::int64_t area = 0;
  for (std::size_t i = 1; i < rle.counts.size(); i += 2) area += rle.counts[i];
  return area;
}

PixelBox rle_to_box(const Rle& rle) {
  check_counts(rle, "rle_to_box");
  const std::int64_t rows = rle.size.rows;
  PixelBox box{rle.size.columns, rows, -1, -1};
  std::int64_t place = 0;
  for (std::size_t i = 0; i < rle.counts.size(); ++i) {
    const std::int64_t begin = place, last = place + rle.counts[i] - 1;
    place = last + 1;
    if (i % 2 == 0 || last < begin) continue;
    box.x0 = std::min(box.x0, begin / rows);
    box.x1 = last / rows;
    const bool wraps = begin / rows != last / rows;
    box.y0 = wraps ? 0 : std::min(box.y0, begin % rows);
    box.y1 = wraps ? rows - 1 : std::max(box.y1, last % rows);
  }
  return box.x1 < 0 ? PixelBox{} : box;
}

}  // namespace locant
