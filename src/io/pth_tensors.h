#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "io/pth_contents.h"
#include "io/pth_types.h"
#include "io/pth_values.h"

namespace locant {

/// The storages that a torch.save names and the tensors that view them, without a word about where in the
/// tree of dicts they stand. Everything is checked against its storage.
class PthTensors {
 public:
  /// Collects all storages into `contents`, which then gets the tensors. Throws Error for a malformed one.
  PthTensors(const PthValues& values, std::uint64_t file_bytes, PthContents& contents);

  /// True for the calls that build a tensor or a parameter, of whatever kind.
  bool is_tensor(pickle::Ref ref) const;
  /// Lists the tensor under `name`; false when that name is taken. Tensors of types that are not computed
  /// with (quantised, sparse, complex, float8, nested, without data) and of more than Shape::kMaxRank axes
  /// become DType::other. Throws Error for shapes, strides and offsets that leave the storage.
  bool add(pickle::Ref ref, const std::string& name);

 private:
  /// A storage as a persistent identifier names it: the whole of one, or (older form) a part of it.
  struct View {
    std::size_t storage = 0;
    const PthType* type = nullptr;
    std::int64_t begin = 0;  ///< elements
    std::int64_t numel = 0;
  };

  void add_storage(pickle::Ref ref);
  void add_plain(pickle::Ref ref, const std::string& name, std::string_view function,
                 const std::vector<pickle::Ref>& items);
  /// Tensors that are not dense numbers in a storage: quantised, sparse, nested, without data.
  void add_special(const std::string& name, std::string_view function, const std::vector<pickle::Ref>& items);
  /// Lists a tensor that cannot be read.
  void add_other(const std::string& name, std::string type, std::int64_t element_size,
                 std::optional<pickle::Ref> size);
  std::optional<std::vector<std::int64_t>> extents_of(pickle::Ref size) const;
  Shape shape_of(pickle::Ref ref, const std::string& name, pickle::Ref size) const;
  PthPlace place_of(pickle::Ref ref, const TensorInfo& info, pickle::Ref offset, pickle::Ref stride) const;

  const PthValues& values_;
  std::uint64_t file_bytes_;
  PthContents& contents_;
  std::map<std::string, std::size_t> storages_;
  std::map<pickle::Ref, View> views_;
  std::set<std::string> names_;
  std::uint64_t name_bytes_ = 0;
};

}  // namespace locant
