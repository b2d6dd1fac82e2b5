#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/preprocess.h"
#include "models/model.h"

namespace locant {

/// A named variant of a model family.
struct ModelEntry {
  std::string name;                  ///< timm's, "swin_tiny_patch4_window7_224"
  std::vector<std::string> aliases;  ///< "swin_tiny", "swin_t"
  std::string family;
  std::string config;  ///< JSON object, keys of the family's Config
  Preprocess preprocess;
  std::string note;      ///< one line for people
  bool has_head = true;  ///< classifies: its configuration has num_classes
};

/// Class names of ImageNet-1k in index order.
const std::vector<std::string>& imagenet_classes();

/// Every registered variant, grouped by family.
const std::vector<ModelEntry>& model_entries();
/// By name or alias. Throws Error with the nearest names.
const ModelEntry& find_model(std::string_view name);
/// Builds a model of a family from its JSON configuration. Throws Error on an unknown family, key or value.
std::unique_ptr<Model> make_model(const std::string& family, const std::string& config,
                                  const Weights& weights);
/// Names and shapes of every parameter, without allocating one.
std::vector<Parameter> model_parameters(const std::string& family, const std::string& config);

}  // namespace locant
