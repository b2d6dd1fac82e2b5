#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"

namespace locant {

enum class DType { f32, f16, bf16, f64, i64, i32, i16, i8, u8, boolean };

/// "F32"
std::string dtype_name(DType dtype);

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t bytes = 0;
};

/// A file of named tensors: safetensors or PyTorch's .pth in its zip and older form. Reading never executes
/// anything and never allocates beyond the file's size; every malformed field is an Error with file, offset
/// and reason.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  virtual const std::string& path() const = 0;
  /// "safetensors", "pth (zip)" or "pth (legacy)"
  virtual const std::string& format() const = 0;
  /// In the order of the file.
  virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// safetensors' __metadata__; string and number entries beside the tensors of a .pth.
  virtual const std::map<std::string, std::string>& metadata() const = 0;
  /// Notes for people: unwrapped levels ("model"), objects passed over. Empty when nothing was special.
  virtual const std::vector<std::string>& notes() const = 0;
  /// The tensor as float32; float32 data of a mapped file is borrowed, not copied. Throws Error for an
  /// unknown name.
  virtual Tensor read(const std::string& name) const = 0;
  /// The caller has taken over what it needs of this tensor: its mapped pages may leave memory.
  virtual void release(const std::string& name) const = 0;
  const TensorInfo* find(const std::string& name) const;
};

/// Opens by content, not by name. Throws Error.
std::unique_ptr<TensorFile> open_tensor_file(const std::string& path);

/// Writes float32 safetensors: temporary file beside it, fsync, rename. Throws Error; the old file is then
/// untouched.
void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace locant
