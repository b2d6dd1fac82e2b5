#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// Builds a DINOv2 backbone from its configuration (keys: struct Dinov2Config in dinov2.cc). Throws Error
/// ("[dinov2] ...").
std::unique_ptr<Model> make_dinov2(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_dinov2(std::vector<ModelEntry>& entries);

}  // namespace locant
