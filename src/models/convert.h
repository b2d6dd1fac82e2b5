#pragma once

#include <string>
#include <vector>

#include "models/load.h"

namespace locant {

struct ConvertOptions {
  /// "transformers" and "timm" give a folder, every other naming of the model's family a file: "torchvision",
  /// "microsoft/Swin-Transformer", ...; "locant" is save_model's.
  std::string to;
  LoadOptions load = {};                  ///< how the input is read; its mode is not used
  std::vector<std::string> classes = {};  ///< names by index, in place of the input's; empty: those
  bool force = false;                     ///< may replace files of the output
};

/// What was written.
struct Converted {
  LoadedModel source;
  std::string architecture;        ///< transformers' class, or timm's name of the model; may be empty
  std::vector<std::string> files;  ///< paths
  std::vector<std::string> notes;  ///< what the target does otherwise or leaves out
};

/// Writes a checkpoint (file or folder) as another library has it: float32 safetensors in its names, and for
/// transformers and timm a folder with config.json (and preprocessor_config.json), to DIR; else FILE with
/// .safetensors at its end. All is written beside the output first and read back: where a parameter or the
/// configuration is not the same, nothing is kept. Throws Error, that names the field, for what the target
/// cannot be told; for an output that is there (without `force`); and for one that would replace the input.
Converted convert_model(const std::string& input, const std::string& output, const ConvertOptions& options);

}  // namespace locant
