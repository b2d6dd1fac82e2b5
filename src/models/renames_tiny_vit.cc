// TinyViT tensor names. Ours are those of microsoft/Cream (TinyViT) and MobileSAM; sources: the state dicts
// of the libraries named.
#include "models/renames.h"

namespace locant {
namespace {

Renames microsoft_names() {
  Renames out;
  out.naming = "microsoft/Cream";
  return out;
}

/// The same names; the image encoder of the file alone.
Renames mobile_sam_names() {
  Renames out;
  out.naming = "ChaoningZhang/MobileSAM";
  out.prefixes = {"image_encoder."};
  out.unused = {"prompt_encoder.*", "mask_decoder.*", "pixel_mean", "pixel_std"};
  out.overrides = {{"", R"({"naming":"ChaoningZhang/MobileSAM"})"}};
  return out;
}

/// timm merges at the start of a stage: our "layers.0" is what its stage 1 begins with.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"patch_embed.seq.0.c", "patch_embed.conv1.conv"},
      {"patch_embed.seq.0", "patch_embed.conv1"},
      {"patch_embed.seq.2.c", "patch_embed.conv2.conv"},
      {"patch_embed.seq.2", "patch_embed.conv2"},
      {"layers.{s}.downsample.conv{k}.c", "stages.{s+1}.downsample.conv{k}.conv"},
      {"layers.{s}.downsample", "stages.{s+1}.downsample"},
      {"layers.{s}.blocks.{b}.conv{k}.c", "stages.{s}.blocks.{b}.conv{k}.conv"},
      {"layers.{s}.blocks.{b}.local_conv.c", "stages.{s}.blocks.{b}.local_conv.conv"},
      {"layers.{s}.blocks", "stages.{s}", true},
      {"layers.{s}.blocks", "stages.{s}.blocks"},
      {"layers.{s}", "stages.{s+1}.downsample", true},
      {"norm_head", "head.norm"},
      {"head", "head.fc"},
  };
  out.overrides = {{"", R"({"naming":"timm"})"}};
  return out;
}

}  // namespace

std::vector<Renames> renames_tiny_vit() {
  std::vector<Renames> out = {microsoft_names(), mobile_sam_names(), timm_names()};
  for (Renames& renames : out)
    renames.derived = {"*.num_batches_tracked", "*.attention_bias_idxs", "*.attn.ab"};
  return out;
}

}  // namespace locant
