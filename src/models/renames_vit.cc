// ViT and DeiT tensor names. Ours are timm's, which are DeiT's too; sources: the state dicts of the libraries
// named.
#include "models/renames.h"

namespace locant {
namespace {

Renames timm_names() {
  Renames timm;
  timm.naming = "timm";
  timm.aliases = {{"blocks.{i}.gamma_1", "blocks.{i}.ls1.gamma"},
                  {"blocks.{i}.gamma_2", "blocks.{i}.ls2.gamma"}};  // DeiT III
  return timm;
}

/// torchvision's VisionTransformer. Files before 0.13 have mlp.linear_1 and mlp.linear_2.
Renames torchvision_names() {
  Renames torchvision;
  torchvision.naming = "torchvision";
  torchvision.rules = {
      {"patch_embed.proj", "conv_proj"},
      {"cls_token", "class_token"},
      {"pos_embed", "encoder.pos_embedding"},
      {"blocks.{i}.norm1", "encoder.layers.encoder_layer_{i}.ln_1"},
      {"blocks.{i}.norm2", "encoder.layers.encoder_layer_{i}.ln_2"},
      {"blocks.{i}.attn.qkv.weight", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_weight"},
      {"blocks.{i}.attn.qkv.bias", "encoder.layers.encoder_layer_{i}.self_attention.in_proj_bias"},
      {"blocks.{i}.attn.proj", "encoder.layers.encoder_layer_{i}.self_attention.out_proj"},
      {"blocks.{i}.attn", "encoder.layers.encoder_layer_{i}.self_attention", true},
      {"blocks.{i}.mlp.fc1", "encoder.layers.encoder_layer_{i}.mlp.0"},
      {"blocks.{i}.mlp.fc2", "encoder.layers.encoder_layer_{i}.mlp.3"},
      {"blocks.{i}", "encoder.layers.encoder_layer_{i}"},
      {"pos_drop", "encoder.dropout", true},
      {"norm", "encoder.ln"},
      {"head", "heads.head"},
  };
  torchvision.aliases = {
      {"encoder.layers.encoder_layer_{i}.mlp.linear_1", "encoder.layers.encoder_layer_{i}.mlp.0"},
      {"encoder.layers.encoder_layer_{i}.mlp.linear_2", "encoder.layers.encoder_layer_{i}.mlp.3"},
  };
  torchvision.overrides = {{"", R"({"naming":"torchvision"})"}};
  return torchvision;
}

/// Hugging Face, as on the hub, beside the spellings of transformers 5 (attention.q_proj, mlp.fc1).
Renames transformers_names() {
  Renames transformers;
  transformers.naming = "transformers";
  transformers.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed", "embeddings.patch_embeddings", true},
      {"cls_token", "embeddings.cls_token"},
      {"dist_token", "embeddings.distillation_token"},
      {"pos_embed", "embeddings.position_embeddings"},
      {"pos_drop", "embeddings", true},
      {"blocks.{i}.norm1", "encoder.layer.{i}.layernorm_before"},
      {"blocks.{i}.norm2", "encoder.layer.{i}.layernorm_after"},
      {"blocks.{i}.attn.qkv",
       {"encoder.layer.{i}.attention.attention.query", "encoder.layer.{i}.attention.attention.key",
        "encoder.layer.{i}.attention.attention.value"}},
      {"blocks.{i}.attn.proj", "encoder.layer.{i}.attention.output.dense"},
      {"blocks.{i}.attn", "encoder.layer.{i}.attention", true},
      {"blocks.{i}.mlp.fc1", "encoder.layer.{i}.intermediate.dense"},
      {"blocks.{i}.mlp.fc2", "encoder.layer.{i}.output.dense"},
      {"blocks.{i}", "encoder.layer.{i}"},
      {"norm", "layernorm"},
  };
  transformers.aliases = {
      {"encoder.layer.{i}.attention.q_proj", "encoder.layer.{i}.attention.attention.query"},
      {"encoder.layer.{i}.attention.k_proj", "encoder.layer.{i}.attention.attention.key"},
      {"encoder.layer.{i}.attention.v_proj", "encoder.layer.{i}.attention.attention.value"},
      {"encoder.layer.{i}.attention.o_proj", "encoder.layer.{i}.attention.output.dense"},
      {"encoder.layer.{i}.mlp.fc1", "encoder.layer.{i}.intermediate.dense"},
      {"encoder.layer.{i}.mlp.fc2", "encoder.layer.{i}.output.dense"},
  };
  transformers.unused = {"pooler.*", "embeddings.mask_token"};
  transformers.overrides = {{"", R"({"naming":"transformers"})"}};
  return transformers;
}

}  // namespace

std::vector<Renames> renames_vit() {
  Renames transformers = transformers_names();
  transformers.prefixes = {"vit."};
  transformers.rules.push_back({"head", "classifier"});
  transformers.preprocess = {{"", R"({"mode":"squash","filter":"bilinear"})"}};
  return {timm_names(), torchvision_names(), transformers};
}

std::vector<Renames> renames_deit() {
  Renames distilled = transformers_names();
  distilled.prefixes = {"deit."};
  distilled.rules.push_back({"head_dist", "distillation_classifier"});
  Renames plain =
      distilled;  // one head and no second one: DeiTForImageClassification, ViTForImageClassification
  plain.prefixes = {"deit.", "vit."};
  distilled.rules.push_back({"head", "cls_classifier"});
  plain.rules.push_back({"head", "classifier"});
  return {timm_names(), torchvision_names(), distilled, plain};
}

}  // namespace locant
