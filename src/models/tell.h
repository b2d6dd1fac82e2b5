#pragma once

#include <optional>
#include <string>
#include <vector>

#include "models/checkpoint.h"
#include "models/family.h"

namespace locant {

/// What is known of a file beside its tensors.
struct TellRequest {
  const ModelEntry* model = nullptr;     ///< it is this one, whatever its picture size and classes
  const Family* family = nullptr;        ///< it is of this family
  std::string config = {};               ///< fields of the family's configuration; JSON object, empty: none
  std::string base = {};                 ///< such fields that give way without a word
  std::string option = {};               ///< such fields that beat config, base and variants
  std::optional<std::string> key = {};   ///< what stands before the model's names, or the first parts of it
  std::vector<std::string> ignore = {};  ///< glob patterns of tensors that are left out
  std::string file_name = {};            ///< may hold a variant's name
};

/// A way to read a file: what to build, and whose names its tensors have.
struct Reading {
  const Family* family = nullptr;
  const Renames* renames = nullptr;
  std::string prefix;
  /// The registered variant that it is, or is of another picture size or number of classes; nullptr: neither.
  const ModelEntry* entry = nullptr;
  std::string config;                  ///< all fields; empty where they could not be told
  std::string why;                     ///< not
  std::vector<std::string> assumed;    ///< what nothing tells
  std::vector<std::string> overruled;  ///< "depth 12 (the tensors have 10)"
  /// Variants whose tensors are the same and whose answers are not; the caller must be told which.
  std::vector<const ModelEntry*> rivals;
  /// Where it is no `request.model`: "dim 384 (vit_base_patch16_224 has 768)".
  std::vector<std::string> apart = {};
  bool named = false;  ///< the file's name holds the entry's
  /// Variants that differ from `entry` in how pictures are prepared alone.
  std::vector<const ModelEntry*> alike;
  CheckpointFit fit;
};

/// Best first. Empty where no tensor has a name that a family could begin with. Throws Error for a request
/// that contradicts itself.
std::vector<Reading> tell(const TensorIndex& index, const TellRequest& request = {});

}  // namespace locant
