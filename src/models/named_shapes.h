#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/shape.h"
#include "io/tensor_file.h"
#include "models/config_json.h"
#include "models/renames.h"

namespace locant {

/// Names and shapes of a file's tensors as a family calls them: what its configuration is told from.
class NamedShapes {
 public:
  NamedShapes(std::string op, std::map<std::string, Shape> shapes, std::map<std::string, Shape> derived = {})
      : op_(std::move(op)), shapes_(std::move(shapes)), derived_(std::move(derived)) {}
  /// Of a file under a naming; tensors that the library splits (q, k, v) are one again.
  NamedShapes(std::string op, const TensorFile& file, const Renames& renames);

  bool has(const std::string& name) const { return shapes_.count(name) != 0; }
  /// Of a tensor that follows from the others and is no parameter, a mask or a table of indices, under the
  /// name that it would have here; nullptr where the file has none.
  const Shape* derived(const std::string& name) const;
  /// Throws Error when there is no such tensor.
  const Shape& at(const std::string& name) const;
  /// One extent. Throws Error when there is no such tensor, no such axis, or it is above 2^20.
  std::int64_t dim(const std::string& name, int axis) const;
  /// The first N for which "before.N" + after is there no more: count("blocks", ".norm1.weight").
  std::int64_t count(const std::string& before, const std::string& after) const;
  /// The sides of a square grid of so many tokens; {0, 0} where no square has them.
  static Pair square(std::int64_t tokens);
  /// Rows over columns of a Linear's weight: an MLP's ratio. Throws Error as dim() does.
  double ratio(const std::string& weight) const;
  /// Notes something that no shape tells, for people: "heads 6 (64 channels each)".
  void assume(std::string what) const { assumed_.push_back(std::move(what)); }
  std::int64_t assume(const char* field, std::int64_t value) const;
  const std::vector<std::string>& assumed() const { return assumed_; }

  std::map<std::string, Shape>::const_iterator begin() const { return shapes_.begin(); }
  std::map<std::string, Shape>::const_iterator end() const { return shapes_.end(); }

 private:
  std::string op_;
  std::map<std::string, Shape> shapes_, derived_;
  mutable std::vector<std::string> assumed_;
};

}  // namespace locant
