#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tensor_file.h"

namespace locant {

/// The "weight_map" of an index of shards.
struct ShardIndex {
  std::vector<std::string> shards;                           ///< file names, sorted
  std::vector<std::pair<std::string, std::size_t>> tensors;  ///< tensor and which of `shards` has it, sorted
};

/// Reads model.safetensors.index.json or pytorch_model.bin.index.json. Throws Error, with `path`, for text
/// that is no valid JSON or has no weight_map, a name twice, a shard's name that is a path, and above 4,096
/// shards.
ShardIndex parse_shard_index(std::string_view text, const std::string& path);

/// The shards of an index, which lie beside it, as one file. Tensors of the shards that the index does not
/// name are left out, with a note. Throws Error for an index above 64 MB, a shard that is missing or no
/// tensor file, and a tensor that its shard lacks.
std::unique_ptr<TensorFile> open_sharded(const std::string& index_path);

}  // namespace locant
