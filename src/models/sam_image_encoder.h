#pragma once

#include <memory>
#include <string>
#include <vector>

#include "models/registry.h"

namespace locant {

/// Builds SAM's image encoder (ViTDet) from its configuration (keys: struct SamEncoderConfig in
/// sam_image_encoder.cc). forward: images (B, 3, H, W), normalised and padded, -> (B, out_chans, H / 16,
/// W / 16), or pooled logits where the configuration pools (timm's samvit). Throws Error
/// ("[sam_image_encoder] ...").
std::unique_ptr<Model> make_sam_image_encoder(const std::string& config_json, const Weights& weights);
/// Adds the named variants.
void register_sam_image_encoder(std::vector<ModelEntry>& entries);

}  // namespace locant
