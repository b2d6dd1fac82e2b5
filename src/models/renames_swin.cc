// Swin V1 tensor names. Ours are those of microsoft/Swin-Transformer; sources: the state dicts of the
// libraries named.
#include "models/renames.h"

namespace locant {

std::vector<Renames> renames_swin() {
  const std::vector<std::string> derived = {"*.relative_position_index", "*.attn_mask"};

  Renames microsoft;
  microsoft.naming = "microsoft/Swin-Transformer";
  microsoft.derived = derived;
  microsoft.preprocess = {{"rows=224", R"({"crop_pct":0.875})"}, {"rows=384", R"({"mode":"squash"})"}};

  Renames timm;
  timm.naming = "timm";
  timm.derived = derived;
  // timm merges at the start of a stage, so that "layers.1" is what its blocks give, and our "layers.0" its
  // merging.
  timm.rules = {
      {"layers.{s}.downsample", "layers.{s+1}.downsample"},
      {"layers.{s}.blocks", "layers.{s}", true},
      {"layers.{s}", "layers.{s+1}.downsample", true},
      {"head", "head.fc"},
  };
  timm.overrides = {{"", R"({"naming":"timm"})"}};

  Renames torchvision;
  torchvision.naming = "torchvision";
  torchvision.derived = derived;
  torchvision.rules = {
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
  torchvision.overrides = {{"", R"({"naming":"torchvision"})"}};

  Renames transformers;
  transformers.naming = "transformers";
  transformers.prefixes = {"swin."};
  transformers.derived = derived;
  transformers.rules = {
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
  transformers.unused = {"embeddings.mask_token"};
  transformers.overrides = {{"", R"({"naming":"transformers"})"}};
  transformers.preprocess = {{"", R"({"mode":"squash"})"}};

  return {microsoft, timm, torchvision, transformers};
}

}  // namespace locant
