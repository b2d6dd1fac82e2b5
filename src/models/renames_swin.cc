// Swin V1 tensor names. Ours are those of microsoft/Swin-Transformer; sources: the state dicts of the
// libraries named.
#include "models/renames.h"

namespace locant {
namespace {

Renames microsoft_names() {
  Renames out;
  out.naming = "microsoft/Swin-Transformer";
  out.preprocess = {{"rows=224", R"({"crop_pct":0.875})"}, {"rows=384", R"({"mode":"squash"})"}};
  return out;
}

/// timm merges at the start of a stage, so that "layers.1" is what its blocks give, and our "layers.0" its
/// merging.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"layers.{s}.downsample", "layers.{s+1}.downsample"},
      {"layers.{s}.blocks", "layers.{s}", true},
      {"layers.{s}", "layers.{s+1}.downsample", true},
      {"head", "head.fc"},
  };
  out.overrides = {{"", R"({"naming":"timm"})"}};
  return out;
}

Renames torchvision_names() {
  Renames out;
  out.naming = "torchvision";
  out.rules = {
      {"patch_embed.proj", "features.0.0"},
      {"patch_embed.norm", "features.0.2"},
      {"patch_embed", "features.0", true},
      {"layers.{s}.blocks.{b}.mlp.fc1", "features.{2s+1}.{b}.mlp.0"},
      {"layers.{s}.blocks.{b}.mlp.fc2", "features.{2s+1}.{b}.mlp.3"},
      {"layers.{s}.blocks.{b}", "features.{2s+1}.{b}"},
      {"layers.{s}.blocks", "features.{2s+1}", true},
      {"layers.{s}.downsample", "features.{2s+2}"},
      {"layers.{s}", "features.{2s+2}", true},
  };
  out.overrides = {{"", R"({"naming":"torchvision"})"}};
  return out;
}

Renames transformers_names() {
  Renames out;
  out.naming = "transformers";
  out.prefixes = {"swin."};
  out.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed.norm", "embeddings.norm"},
      {"absolute_pos_embed", "embeddings.position_embeddings"},
      {"patch_embed", "embeddings", true},
      {"layers.{s}.blocks.{b}.norm1", "encoder.layers.{s}.blocks.{b}.layernorm_before"},
      {"layers.{s}.blocks.{b}.norm2", "encoder.layers.{s}.blocks.{b}.layernorm_after"},
      {"layers.{s}.blocks.{b}.attn.qkv",
       {"encoder.layers.{s}.blocks.{b}.attention.self.query",
        "encoder.layers.{s}.blocks.{b}.attention.self.key",
        "encoder.layers.{s}.blocks.{b}.attention.self.value"}},
      {"layers.{s}.blocks.{b}.attn.proj", "encoder.layers.{s}.blocks.{b}.attention.output.dense"},
      {"layers.{s}.blocks.{b}.attn.relative_position_bias_table",
       "encoder.layers.{s}.blocks.{b}.attention.self.relative_position_bias_table"},
      {"layers.{s}.blocks.{b}.attn", "encoder.layers.{s}.blocks.{b}.attention", true},
      {"layers.{s}.blocks.{b}.mlp.fc1", "encoder.layers.{s}.blocks.{b}.intermediate.dense"},
      {"layers.{s}.blocks.{b}.mlp.fc2", "encoder.layers.{s}.blocks.{b}.output.dense"},
      {"layers.{s}", "encoder.layers.{s}"},
      {"norm", "layernorm"},
      {"head", "classifier"},
  };
  out.unused = {"embeddings.mask_token"};
  out.overrides = {{"", R"({"naming":"transformers"})"}};
  out.preprocess = {{"", R"({"mode":"squash"})"}};
  return out;
}

}  // namespace

std::vector<Renames> renames_swin() {
  std::vector<Renames> out = {microsoft_names(), timm_names(), torchvision_names(), transformers_names()};
  for (Renames& renames : out) renames.derived = {"*.relative_position_index", "*.attn_mask"};
  return out;
}

}  // namespace locant
