// Tensor names of Segment Anything. Ours are those of facebookresearch/segment-anything; sources: the state
// dicts of the libraries named.
#include "models/renames.h"

namespace locant {
namespace {

const std::vector<std::string> kNotTheEncoder = {"prompt_encoder.*", "mask_decoder.*",
                                                 "shared_image_embedding.*", "pixel_mean", "pixel_std"};

Renames official_names() {
  Renames out;
  out.naming = "segment-anything";
  out.prefixes = {"image_encoder."};
  out.unused = kNotTheEncoder;
  return out;
}

/// DeepSeek-OCR's `sam_model`: two more convolutions behind the neck.
Renames deepseek_names() {
  Renames out;
  out.naming = "deepseek-ai/DeepSeek-OCR";
  out.prefixes = {"model.sam_model.", "sam_model."};
  out.overrides = {{"", R"({"naming":"deepseek-ai/DeepSeek-OCR"})"},
                   {"!num_classes", R"({"net_chans":[512,1024]})"}};
  return out;
}

/// timm's samvit. Its neck counts on, which is how the official one is named too.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"blocks.{i}.mlp.lin1", "blocks.{i}.mlp.fc1"},
      {"blocks.{i}.mlp.lin2", "blocks.{i}.mlp.fc2"},
      {"head", "head.fc"},
  };
  out.overrides = {{"", R"({"naming":"timm"})"}};
  return out;
}

/// Hugging Face's SamModel and SamVisionModel, as on the hub.
Renames transformers_names() {
  Renames out;
  out.naming = "transformers";
  out.prefixes = {"vision_encoder."};
  out.rules = {
      {"patch_embed.proj", "patch_embed.projection"},
      {"blocks.{i}.norm1", "layers.{i}.layer_norm1"},
      {"blocks.{i}.norm2", "layers.{i}.layer_norm2"},
      {"blocks.{i}", "layers.{i}"},
      {"neck.0", "neck.conv1"},
      {"neck.1", "neck.layer_norm1"},
      {"neck.2", "neck.conv2"},
      {"neck.3", "neck.layer_norm2"},
  };
  out.unused = kNotTheEncoder;
  out.overrides = {{"", R"({"naming":"transformers"})"}};
  return out;
}

}  // namespace

std::vector<Renames> renames_sam_image_encoder() {
  return {official_names(), timm_names(), transformers_names(), deepseek_names()};
}

}  // namespace locant
