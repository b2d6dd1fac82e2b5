#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// Builds a SimpleViT from its configuration (keys: struct SimpleVitConfig in simple_vit.cc). Throws Error
/// ("[simple_vit] ...").
std::unique_ptr<Model> make_simple_vit(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_simple_vit(std::vector<ModelEntry>& entries);

}  // namespace locant
