#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// DeiT is ViT with a distillation token and a second head, or plain ViT under DeiT's recipe: both are in
/// vit.cc.
std::unique_ptr<Model> make_deit(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_deit(std::vector<ModelEntry>& entries);

}  // namespace locant
