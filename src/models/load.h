#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/preprocess.h"
#include "io/tensor_file.h"
#include "models/model.h"

namespace locant {

struct LoadOptions {
  std::string model = {};  ///< registry name; empty: from the file's metadata, else guessed from its tensors
  WeightMode mode = WeightMode::inference;
  /// Classes of the head where the file has others than the registered model: a number, kClassesOfFile for
  /// what the file has, or 0 for the registered number (a file with another one is then an Error that says
  /// so).
  std::int64_t num_classes = 0;
  static constexpr std::int64_t kClassesOfFile = -1;
};

/// A checkpoint as a model that runs.
struct LoadedModel {
  std::unique_ptr<Model> model;
  std::string name;    ///< registry name, or the family for a configuration of its own
  std::string naming;  ///< whose tensor names the file used: "timm", "torchvision", "transformers", ...
  Preprocess preprocess;
  std::vector<std::string> classes;  ///< names by index; empty when unknown
  std::vector<std::string> notes;    ///< lines for people: buffers recomputed, levels unwrapped
};

/// Opens safetensors or .pth, finds the model and the naming, and loads it. Throws Error that lists missing
/// and unexpected names (each with its nearest match) or the candidates when the model cannot be told.
LoadedModel load_model(const std::string& path, const LoadOptions& options = {});

/// Writes a checkpoint of ours: safetensors with the model's name, family, configuration, class names and
/// preprocessing in its metadata, so that load_model needs nothing else. Atomic. `extra` is added to the
/// metadata.
struct SaveOptions {
  std::string name;
  Preprocess preprocess;
  std::vector<std::string> classes;
  std::vector<std::pair<std::string, std::string>> extra;
};
void save_model(const std::string& path, const Model& model, const SaveOptions& options);
/// The same for given numbers under the model's names (averaged weights).
void save_model(const std::string& path, const Model& model,
                const std::vector<std::pair<std::string, Tensor>>& tensors, const SaveOptions& options);

/// The models (best first) whose names and shapes fit a file, with how it was told; for `inspect`.
struct ModelGuess {
  std::string name;
  std::string naming;
  std::size_t matched = 0, missing = 0, unexpected = 0;
};
std::vector<ModelGuess> guess_model(const TensorFile& file);

}  // namespace locant
