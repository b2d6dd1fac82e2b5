#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "io/tensor_file.h"

namespace locant {

/// An element type of PyTorch.
struct PthType {
  std::string_view storage;      ///< class of its storages, without module: "FloatStorage"; may be empty
  std::string_view name;         ///< "torch.float32"
  std::int64_t element_size;     ///< bytes
  std::optional<DType> dtype{};  ///< absent where the numbers are not read
};

/// By "torch.FloatStorage", "torch.cuda.FloatStorage" or "torch.storage.UntypedStorage" (whose name is
/// empty); null for anything else.
const PthType* pth_storage_type(std::string_view storage_class);
/// By "torch.float32"; null for what is not known.
const PthType* pth_element_type(std::string_view name);

}  // namespace locant
