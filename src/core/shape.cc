#include "core/shape.h"

#include "core/error.h"

namespace locant {

Shape::Shape(std::span<const std::int64_t> extents) {
  require(extents.size() <= kMaxRank, "shape", "rank {} is above the limit of {}", extents.size(), kMaxRank);
  rank_ = static_cast<int>(extents.size());
  for (int axis = 0; axis < rank_; ++axis) {
    const std::int64_t extent = extents[static_cast<std::size_t>(axis)];
    require(extent >= 0, "shape", "extent {} of axis {} is negative", extent, axis);
    extents_[static_cast<std::size_t>(axis)] = extent;
    require(!__builtin_mul_overflow(numel_, extent, &numel_), "shape", "element count overflows 64 bits");
  }
}

std::int64_t Shape::operator[](int axis) const {
  const int index = axis < 0 ? axis + rank_ : axis;
  if (index < 0 || index >= rank_) fail("shape", "axis {} does not exist in shape {}", axis, str());
  return extents_[static_cast<std::size_t>(index)];
}

Shape Shape::with_last(std::int64_t extent) const {
  if (rank_ == 0) fail("shape", "a scalar has no last axis to replace");
  std::array<std::int64_t, kMaxRank> extents = extents_;
  extents[static_cast<std::size_t>(rank_ - 1)] = extent;
  return Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank_)));
}

std::string Shape::str() const { return fmt::format("({})", fmt::join(this->extents(), ", ")); }

}  // namespace locant
