#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// Builds a ViT from its configuration (keys: struct VitConfig in vit.cc). Throws Error ("[vit] ...").
std::unique_ptr<Model> make_vit(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_vit(std::vector<ModelEntry>& entries);

}  // namespace locant
