#include "models/named_shapes.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace locant {

NamedShapes::NamedShapes(std::string op, const TensorFile& file, const Renames& renames)
    : op_(std::move(op)) {
  for (const TensorInfo& tensor : file.tensors()) {
    const std::string name = renames.normalised(tensor.name);
    if (renames.is_derived(name)) derived_.emplace(renames.to_ours(name), tensor.shape);
    if (renames.is_derived(name) || renames.is_unused(name)) continue;
    const OurPiece ours = renames.piece_to_ours(name);
    Shape shape = tensor.shape;
    if (ours.parts > 1) {
      std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
      if (extents.empty()) continue;
      extents[0] *= static_cast<std::int64_t>(ours.parts);
      shape = Shape(extents);
    }
    shapes_.emplace(ours.name, shape);
  }
}

const Shape* NamedShapes::derived(const std::string& name) const {
  const auto it = derived_.find(name);
  return it == derived_.end() ? nullptr : &it->second;
}

const Shape& NamedShapes::at(const std::string& name) const {
  const auto it = shapes_.find(name);
  require(it != shapes_.end(), op_, "there is no tensor {} to tell the configuration from", name);
  return it->second;
}

std::int64_t NamedShapes::dim(const std::string& name, int axis) const {
  const Shape& shape = at(name);
  if (axis >= shape.rank())
    fail(op_, "{} is {}; axis {} was to tell the configuration", name, shape.str(), axis);
  constexpr std::int64_t kLargest =
      1 << 20;  // as of any size in a configuration: keeps products far from overflow
  require(shape[axis] <= kLargest, op_, "{} is {}; sides up to {} tell a configuration", name, shape.str(),
          kLargest);
  return shape[axis];
}

std::int64_t NamedShapes::count(const std::string& before, const std::string& after) const {
  std::int64_t n = 0;
  while (has(fmt::format("{}.{}{}", before, n, after))) ++n;
  return n;
}

double NamedShapes::ratio(const std::string& weight) const {
  return static_cast<double>(dim(weight, 0)) / static_cast<double>(std::max<std::int64_t>(dim(weight, 1), 1));
}

std::int64_t NamedShapes::assume(const char* field, std::int64_t value) const {
  assume(fmt::format("{} {}", field, value));
  return value;
}

Pair NamedShapes::square(std::int64_t tokens) {
  const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(tokens))));
  if (side * side != tokens) return {0, 0};
  return {side, side};
}

}  // namespace locant
