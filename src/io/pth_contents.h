#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/dtype.h"
#include "io/pickle.h"
#include "io/tensor_file.h"

namespace locant {

/// One block of numbers that tensors view: an entry data/KEY of the zip form, a run of bytes of the older
/// form.
struct PthStorage {
  std::string key;
  std::string type;  ///< "torch.FloatStorage"
  std::int64_t element_size = 1;
  std::int64_t numel = 0;
  std::int64_t users = 0;  ///< tensors of `tensors` that view it
  std::int64_t bytes() const { return numel * element_size; }
};

/// Where the numbers of tensor i are; element (i, j, ...) is offset + i * strides[0] + j * strides[1] + ...
struct PthPlace {
  std::size_t storage = 0;
  std::int64_t offset = 0;  ///< elements
  std::int64_t span = 0;    ///< elements from offset to the last one viewed, inclusive
  Strides strides{};
};

/// What the object of a torch.save holds, as far as it concerns us.
struct PthContents {
  std::vector<PthStorage> storages;  ///< every storage named in the pickle, used or not
  std::vector<TensorInfo> tensors;
  std::vector<PthPlace> places;  ///< one a tensor
  std::map<std::string, std::string> metadata;
  std::vector<std::string> notes;
};

/// Finds the tensors of an unpickled torch.save. Rules:
/// - A dict without tensors of its own but with a dict that holds tensors under "model", "state_dict",
///   "model_state_dict" or "model_ema" (the first of these) stands for that dict, repeatedly.
/// - Dicts, lists and tuples within are flattened; keys and indices are joined by dots.
/// - The prefix "module." goes when every name has it.
/// - Text, numbers and truth values beside tensors are metadata. Anything else is passed over, with a note.
/// Every shape, stride and offset is checked against its storage. Throws Error for those, for tensors of
/// unsupported types (quantised, sparse, complex, float8), for names above 1,024 characters, and when there
/// is no tensor at all.
PthContents interpret_pth(const pickle::Document& document, const std::string& file,
                          std::uint64_t file_bytes);

}  // namespace locant
