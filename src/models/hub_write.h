#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "models/load.h"
#include "models/renames.h"

namespace locant {

/// What a library's folder has beside the tensors, and how it names them.
struct HubFolder {
  std::string config;        ///< text of config.json
  std::string preprocessor;  ///< text of preprocessor_config.json; empty where config.json says it (timm)
  std::string architecture;  ///< transformers' class, or timm's name of the model
  const Renames* renames = nullptr;
  std::string prefix;               ///< before every name but those of `heads`
  std::vector<std::string> heads;   ///< glob patterns of the library's names that stand outside the prefix
  std::vector<std::string> lost;    ///< our parameters that its class has no place for, and no answer needs
  std::vector<std::string> untold;  ///< our fields that no file of it says, and that decide no answer
  /// Tensors that its class always has and the model has not.
  std::vector<std::pair<std::string, Tensor>> beside;
  bool counts_batches = false;     ///< a count of batches stands beside each running variance
  std::vector<std::string> notes;  ///< lines for people
};

/// A folder that transformers' AutoModel... .from_pretrained opens. Throws Error that names the field for
/// models and rules of preparing pictures that its class cannot be told.
HubFolder transformers_folder(const LoadedModel& loaded);

/// A folder that timm.create_model("local-dir:...", pretrained=True) opens. Throws Error as above.
HubFolder timm_folder(const LoadedModel& loaded);

}  // namespace locant
