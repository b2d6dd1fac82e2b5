#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "io/tensor_file.h"

namespace locant {

/// The names of a file, to be looked up. The file must outlive it.
class TensorIndex {
 public:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  explicit TensorIndex(const TensorFile& file);
  const TensorFile& file() const { return file_; }
  const std::vector<TensorInfo>& tensors() const { return file_.tensors(); }
  /// kNone where there is no such tensor.
  std::size_t find(std::string_view name) const;
  /// What stands before `name` in the names that end with it at a dot, each once, in the order of the file:
  /// "", "module.", "state_dict.model.".
  std::vector<std::string> prefixes_of(std::string_view name) const;

 private:
  const TensorFile& file_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

/// The tensors of a file that stand under a prefix (whole parts, with the last dot), by the names behind it.
/// Some writers give the prefix to a part of the names only ("vit.embeddings", "encoder.layer"): a name that
/// is not under all of it is looked for under less and less of it.
class StateDict {
 public:
  StateDict(const TensorIndex& index, std::string prefix);
  const TensorIndex& index() const { return *index_; }
  const std::string& prefix() const { return prefix_; }
  /// TensorIndex::kNone where there is no such tensor.
  std::size_t find(const std::string& name) const;
  /// The name of a tensor of the file behind the prefix, or behind the part of it that it has; `level`: how
  /// many parts of the prefix it lacks.
  std::string_view behind(std::string_view in_file, std::size_t& level) const;

 private:
  const TensorIndex* index_;
  std::string prefix_;
  std::vector<std::size_t> lengths_;  // of the prefix, of it without its last part, ..., 0
};

/// How much rather one of two state dicts is meant that fit alike, from what stands before their names: 0 for
/// averaged weights and teachers, 1, and 2 for students.
int secondness(std::string_view prefix);

}  // namespace locant
