#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// Builds a TinyViT from its configuration (keys: struct TinyVitConfig in tiny_vit.cc). With `neck_chans` it
/// is MobileSAM's image encoder, whose forward gives images (B, neck_chans, rows, columns). Throws Error
/// ("[tiny_vit] ...").
std::unique_ptr<Model> make_tiny_vit(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_tiny_vit(std::vector<ModelEntry>& entries);

}  // namespace locant
