#include "models/named_shapes.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace locant {
namespace {

class MapTable final : public ShapeTable {
 public:
  using Map = std::map<std::string, Shape>;
  MapTable(Map shapes, Map derived) : shapes_(std::move(shapes)), derived_(std::move(derived)) {}
  std::optional<Shape> shape_of(const std::string& name) const override { return look(shapes_, name); }
  std::optional<Shape> derived_shape_of(const std::string& name) const override {
    return look(derived_, name);
  }

 private:
  static std::optional<Shape> look(const Map& map, const std::string& name) {
    const auto it = map.find(name);
    return it == map.end() ? std::nullopt : std::optional(it->second);
  }
  Map shapes_, derived_;
};

}  // namespace

NamedShapes::NamedShapes(std::string op, std::map<std::string, Shape> shapes,
                         std::map<std::string, Shape> derived)
    : NamedShapes(std::move(op), std::make_shared<MapTable>(std::move(shapes), std::move(derived))) {}

NamedShapes::NamedShapes(std::string op, std::shared_ptr<const ShapeTable> table)
    : op_(std::move(op)), table_(std::move(table)) {}

NamedShapes NamedShapes::below(const std::string& prefix) const {
  NamedShapes out = *this;
  out.prefix_ += prefix + ".";
  return out;
}

Shape NamedShapes::at(const std::string& name) const {
  const std::optional<Shape> shape = table_->shape_of(prefix_ + name);
  if (!shape && state_->missed.empty()) state_->missed = prefix_ + name;
  require(shape.has_value(), op_, "there is no tensor {} to tell the configuration from", name);
  return *shape;
}

std::int64_t NamedShapes::dim(const std::string& name, int axis) const {
  const Shape shape = at(name);
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

void NamedShapes::ratio(const std::string& weight, double& value) const {
  const std::int64_t out = dim(weight, 0), in = std::max<std::int64_t>(dim(weight, 1), 1);
  if (static_cast<std::int64_t>(static_cast<double>(in) * value) != out)
    value = static_cast<double>(out) / static_cast<double>(in);
}

Pair NamedShapes::square(std::int64_t tokens) {
  const auto side = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(tokens))));
  if (side * side != tokens) return {0, 0};
  return {side, side};
}

/// {"img_size":[224,224]} as people write it.
void NamedShapes::note(const std::string& assumed) const {
  const auto json = nlohmann::ordered_json::parse(assumed);
  const std::string& key = json.begin().key();
  const nlohmann::ordered_json& value = json.begin().value();
  const bool sides = value.is_array() && value.size() == 2 && key.find("size") != std::string::npos;
  state_->assumed.push_back(
      sides ? fmt::format("{} {} x {}", key, value[0].dump(), value[1].dump())
            : fmt::format("{} {}", key, value.is_string() ? value.get<std::string>() : value.dump()));
}

}  // namespace locant
