#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// Builds a Swin V1 from its configuration (keys: struct SwinConfig in swin.cc). Throws Error ("[swin] ...").
std::unique_ptr<Model> make_swin(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_swin(std::vector<ModelEntry>& entries);

}  // namespace locant
