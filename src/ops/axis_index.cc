#include "ops/axis_index.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace locant {

AxisIndex::AxisIndex(std::vector<std::int32_t> coordinate, std::int64_t coordinates, std::int64_t extent,
                     std::vector<std::int32_t> rows)
    : coordinate_(std::move(coordinate)), rows_(std::move(rows)), coordinates_(coordinates), extent_(extent) {
  require(coordinates >= 1 && extent >= 1 && coordinates <= (1 << 20) && extent <= (1 << 20) &&
              static_cast<std::int64_t>(rows_.size()) == coordinates * extent,
          "axis_index", "{} rows for {} coordinates and {} places of the keys", rows_.size(), coordinates,
          extent);
  begin_.assign(static_cast<std::size_t>(coordinates + 1), 0);
  for (const std::int32_t c : coordinate_) {
    if (c >= coordinates) fail("axis_index", "a token has the coordinate {} of {}", c, coordinates);
    if (c >= 0) ++begin_[static_cast<std::size_t>(c) + 1];
  }
  for (std::size_t c = 1; c < begin_.size(); ++c) begin_[c] += begin_[c - 1];
  sorted_.resize(static_cast<std::size_t>(begin_.back()));
  std::vector<std::int32_t> next = begin_;
  for (std::size_t n = 0; n < coordinate_.size(); ++n)
    if (coordinate_[n] >= 0)
      sorted_[static_cast<std::size_t>(next[static_cast<std::size_t>(coordinate_[n])]++)] =
          static_cast<std::int32_t>(n);
  for (const std::int32_t row : rows_) table_rows_ = std::max(table_rows_, std::int64_t{row} + 1);
}

std::span<const std::int32_t> AxisIndex::tokens_at(std::int64_t c) const {
  const auto begin = static_cast<std::size_t>(begin_[static_cast<std::size_t>(c)]);
  const auto end = static_cast<std::size_t>(begin_[static_cast<std::size_t>(c) + 1]);
  return std::span<const std::int32_t>(sorted_).subspan(begin, end - begin);
}

}  // namespace locant
