#pragma once

#include <string>

#include "models/load.h"

namespace locant::cli {

/// What a model of sequences gives: every output that it has, by name.
struct ValuesRun {
  std::vector<std::pair<std::string, Tensor>> outputs;
  std::string inputs;  ///< "input_ids (2, 30), attention_mask (2, 30)"
  double inference_s = 0.0;
};

/// Whether features are asked of tensors, not of pictures: a .safetensors file.
bool holds_values(const std::string& path);

/// Runs the model on the tensors of a safetensors file, named as its inputs; a lone tensor of another name is
/// the first input. Throws Error that lists the model's inputs, for one that is missing, that it has not, or
/// that does not fit, and for outputs that are not finite.
ValuesRun run_values(const LoadedModel& loaded, const std::string& path);

}  // namespace locant::cli
