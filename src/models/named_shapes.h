#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/shape.h"
#include "models/config_json.h"

namespace locant {

/// Shapes by a family's own names.
class ShapeTable {
 public:
  virtual ~ShapeTable() = default;
  virtual std::optional<Shape> shape_of(const std::string& name) const = 0;
  /// Of a tensor that follows from the others and is no parameter: a mask, a table of indices.
  virtual std::optional<Shape> derived_shape_of(const std::string& name) const = 0;
};

/// Names and shapes of a file's tensors as a family calls them, and what is told otherwise: what its
/// configuration comes from.
class NamedShapes {
 public:
  NamedShapes(std::string op, std::map<std::string, Shape> shapes, std::map<std::string, Shape> derived = {});
  NamedShapes(std::string op, std::shared_ptr<const ShapeTable> table);
  /// Those under "prefix.", without it: of a model within a model.
  NamedShapes below(const std::string& prefix) const;

  bool has(const std::string& name) const { return table_->shape_of(prefix_ + name).has_value(); }
  std::optional<Shape> derived(const std::string& name) const {
    return table_->derived_shape_of(prefix_ + name);
  }
  /// Throws Error when there is no such tensor.
  Shape at(const std::string& name) const;
  /// One extent. Throws Error when there is no such tensor, no such axis, or it is above 2^20.
  std::int64_t dim(const std::string& name, int axis) const;
  /// The first N for which "before.N" + after is there no more: count("blocks", ".norm1.weight").
  std::int64_t count(const std::string& before, const std::string& after) const;
  /// The sides of a square grid of so many tokens; {0, 0} where no square has them.
  static Pair square(std::int64_t tokens);
  /// Rows over columns of a Linear's weight, an MLP's ratio, unless `value` gives these rows already. Throws
  /// Error as dim() does.
  void ratio(const std::string& weight, double& value) const;

  /// Keys of the configuration that a caller, a description or a registered variant has set: what no shape
  /// tells stays as it is there.
  void tell(std::set<std::string> keys) { told_ = std::move(keys); }
  bool told(const std::string& key) const { return told_.count(key) != 0; }
  /// What no shape tells: `value` becomes `usual` unless it is told and possible, and that is noted for
  /// people.
  template <class T>
  void assume(const char* key, T& value, const T& usual, bool possible = true) const {
    if (told(key) && possible) return;
    value = usual;
    ConfigWriter writer;
    writer.field(key, value);
    note(writer.str());
  }
  /// The same for a default.
  template <class T>
  void assume(const char* key, T& value) const {
    assume(key, value, T(value));
  }
  /// "heads 6", "img_size 224 x 224": what was assumed, in order.
  const std::vector<std::string>& assumed() const { return state_->assumed; }
  /// The first name that at() did not find; empty where it found all.
  const std::string& missed() const { return state_->missed; }

 private:
  /// Shared with those below.
  struct State {
    std::vector<std::string> assumed;
    std::string missed;
  };
  void note(const std::string& assumed) const;

  std::string op_, prefix_;
  std::shared_ptr<const ShapeTable> table_;
  std::set<std::string> told_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace locant
