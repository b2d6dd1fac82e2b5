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
/// - Dicts, lists and tuples are flattened to any number of levels up to 32; keys and indices are joined by
/// dots:
///   "state_dict.module.blocks.0.attn.qkv.weight". No level is chosen and no prefix taken off. A file that is
///   one tensor calls it "tensor".
/// - Text, numbers and truth values under keys are metadata, by the same path; those in lists are passed
/// over.
///   The attributes of an argparse.Namespace, a types.SimpleNamespace and an EasyDict are taken as a dict.
/// - A container that has been met before, a second tensor of the same path and objects of other classes are
///   passed over, each with a note, of which there are at most 17.
/// - Tensors of types that are not computed with are listed as DType::other.
/// Every shape, stride and offset is checked against its storage. Throws Error for those, and when there is
/// no tensor at all.
PthContents interpret_pth(const pickle::Document& document, const std::string& file,
                          std::uint64_t file_bytes);

}  // namespace locant
