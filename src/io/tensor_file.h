#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace locant {

/// Types of elements. Numbers of `other` (8-bit floats, complex, quantised, sparse, ...) are listed, not
/// read.
enum class DType { f32, f16, bf16, f64, i64, i32, i16, i8, u8, boolean, other };

/// "F32"; "OTHER" for the types that TensorInfo::type names.
std::string dtype_name(DType dtype);
/// F32, F16, BF16 and F64.
bool is_float(DType dtype);

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;  ///< {} too where `other` has a shape that is not known, or above Shape::kMaxRank axes
  std::uint64_t bytes = 0;  ///< 0 where it is not known
  std::string type{};       ///< of `other`: the type as the file names it, "F8_E4M3" or "torch.sparse_coo"
};

/// For people: "F32", or the file's own name of a type that is not read.
std::string dtype_name(const TensorInfo& info);

/// A file of named tensors: safetensors, PyTorch's .pth in its zip and older form, or several of them by an
/// index. Reading never executes anything and never allocates beyond the file's size; every malformed field
/// is an Error with file, offset and reason.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  virtual const std::string& path() const = 0;
  /// "safetensors", "pth (zip)", "pth (legacy)", "npz", "safetensors (3 shards)"
  virtual const std::string& format() const = 0;
  /// In the order of the file.
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// safetensors' __metadata__; texts, numbers and truth values of a .pth by their dotted path.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  /// Notes for people: objects passed over, archives without check sums. Empty when nothing was special.
  virtual const std::vector<std::string>& notes() const = 0;
  /// The tensor as float32; float32 data of a mapped file is borrowed, not copied. Throws Error for an
  /// unknown name and for DType::other.
  virtual Tensor read(const std::string& name) const = 0;
  /// The caller has taken over what it needs of this tensor: its mapped pages may leave memory.
  virtual void release(const std::string& name) const = 0;
  const TensorInfo* find(const std::string& name) const;
};

/// Opens by content, not by name; an index of shards (.json) is one file over all of them. Throws Error,
/// which says what a file of another kind is.
std::unique_ptr<TensorFile> open_tensor_file(const std::string& path);
/// The same without indexes.
std::unique_ptr<TensorFile> open_single_file(const std::string& path);

/// Whole numbers without axes (I64), as libraries keep counts of batches.
using Counts = std::vector<std::pair<std::string, std::int64_t>>;

/// Writes safetensors, float32 but for `counts`: temporary file beside it, fsync, rename. Throws Error; the
/// old file is then untouched.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata, const Counts& counts = {});

}  // namespace locant
