#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace locant {

/// Up to six extents, outermost first. Row-major everywhere.
class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> extents)
      : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}
  /// Throws Error when the rank exceeds kMaxRank, an extent is negative or the product overflows.
  explicit Shape(std::span<const std::int64_t> extents);

  int rank() const { return rank_; }
  /// Extent of an axis; negative counts from the end (-1 is the last). Throws Error outside the rank.
  std::int64_t operator[](int axis) const;
  /// Product of the extents; 1 for rank 0.
  std::int64_t numel() const { return numel_; }
  std::span<const std::int64_t> extents() const { return {extents_.data(), static_cast<std::size_t>(rank_)}; }
  /// The same extents with the last one replaced.
  Shape with_last(std::int64_t extent) const;
  /// "(2, 3, 224, 224)"
  std::string str() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    return a.rank_ == b.rank_ && a.extents_ == b.extents_;
  }

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  std::int64_t numel_ = 1;
  int rank_ = 0;
};

}  // namespace locant
