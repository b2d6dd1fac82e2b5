#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace locant {

/// Which vector of a table a token meets for each place along an axis of the keys: row rows[c, e] for a token
/// of coordinate c and the place e. Made once for a shape, shared by the layers that use it.
class AxisIndex {
 public:
  /// coordinate (N): of each token, in [0, coordinates); negative: none, all its numbers are zero (special
  /// tokens). rows (coordinates, extent): negative: the number is zero. Throws Error when sizes do not fit.
  AxisIndex(std::vector<std::int32_t> coordinate, std::int64_t coordinates, std::int64_t extent,
            std::vector<std::int32_t> rows);

  std::int64_t tokens() const { return static_cast<std::int64_t>(coordinate_.size()); }
  std::int64_t coordinates() const { return coordinates_; }
  std::int64_t extent() const { return extent_; }
  /// Rows that the table must have: the largest index and one.
  std::int64_t table_rows() const { return table_rows_; }
  std::int32_t row(std::int64_t c, std::int64_t e) const {
    return rows_[static_cast<std::size_t>(c * extent_ + e)];
  }
  std::int32_t coordinate(std::int64_t token) const { return coordinate_[static_cast<std::size_t>(token)]; }
  /// Tokens of one coordinate, ascending.
  std::span<const std::int32_t> tokens_at(std::int64_t c) const;
  /// Every token has a coordinate.
  bool covers() const { return static_cast<std::int64_t>(sorted_.size()) == tokens(); }

 private:
  std::vector<std::int32_t> coordinate_, rows_;
  std::int64_t coordinates_, extent_, table_rows_ = 0;
  std::vector<std::int32_t> sorted_, begin_;  // tokens by coordinate; (coordinates + 1)
};

}  // namespace locant
