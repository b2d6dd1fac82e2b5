#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/preprocess.h"
#include "io/tensor_file.h"
#include "models/hub.h"
#include "models/model.h"

namespace locant {

struct LoadOptions {
  std::string model = {};  ///< registry name; empty: told by the file, its folder and its tensors
  WeightMode mode = WeightMode::inference;
  std::optional<std::string> key = {};  ///< which of several models in the file: what stands before its names
  std::vector<std::string> ignore = {};  ///< glob patterns of tensors that are left out although the model
                                         ///< has no place for them
  bool folder_config = true;             ///< config.json and preprocessor_config.json beside the file count
  std::string config = {};  ///< fields of the family's configuration, JSON object; they beat all but shapes
  std::string preprocess = {};  ///< JSON object that beats what is known: fields of Preprocess::to_json, a
                                ///< preprocessor_config.json, or timm's pretrained_cfg
};

/// A checkpoint as a model that runs.
struct LoadedModel {
  /// What the numbers of the head are: one class of several, each class yes or no, values.
  using Answer = HubConfig::Answer;
  std::unique_ptr<Model> model;
  std::string name;      ///< registry name, or the family for a configuration of its own
  std::string naming;    ///< whose tensor names the file used: "timm", "torchvision", "transformers", ...
  std::string key;       ///< what stood before the model's names in the file, with the last dot
  std::string hub_type;  ///< model_type of transformers, where a config.json said it
  Preprocess preprocess;
  std::vector<std::string> classes;  ///< names by index; empty when unknown
  Answer answer = Answer::one_class;
  std::vector<std::string> notes;    ///< lines for people: buffers recomputed, levels taken
  std::vector<std::string> assumed;  ///< "heads 6": what neither file nor caller says, and the answer needs
};

/// Opens safetensors, .pth, or a folder of the hub; finds the model, its naming and its configuration, and
/// loads it. Each value comes from the first that says it of: `options`, our own metadata, config.json (where
/// no shape says otherwise), the shapes, the registered variant of these shapes, the family's defaults, which
/// are `assumed`. Throws Error that lists missing and unknown names (each with its nearest match), or the
/// variants to choose from when their tensors are the same and their answers are not.
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
  std::string key;  ///< what stands before its names
  std::size_t matched = 0, missing = 0, unexpected = 0;
  std::vector<std::string> assumed = {};
};
std::vector<ModelGuess> guess_model(const TensorFile& file);

}  // namespace locant
