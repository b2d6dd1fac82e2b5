// DINOv2 tensor names. Ours are those of Meta's files; sources: the state dicts of the libraries named. Stage
// paths of ours are timm's where Meta has no module (pos_drop: all tokens with their position).
#include "models/renames.h"

namespace locant {
namespace {

const char* const kQuery = "encoder.layer.{i}.attention.attention.query";
const char* const kKey = "encoder.layer.{i}.attention.attention.key";
const char* const kValue = "encoder.layer.{i}.attention.attention.value";

/// Hugging Face. Files on the hub have `weights_in`; transformers 5 may write its two halves apart.
Renames transformers_names(bool halves) {
  Renames out;
  out.naming = "transformers";
  out.prefixes = {"dinov2.", "dinov2_with_registers."};
  out.rules = {
      {"patch_embed.proj", "embeddings.patch_embeddings.projection"},
      {"patch_embed", "embeddings.patch_embeddings", true},
      {"cls_token", "embeddings.cls_token"},
      {"mask_token", "embeddings.mask_token"},
      {"register_tokens", "embeddings.register_tokens"},
      {"pos_embed", "embeddings.position_embeddings"},
      {"pos_drop", "embeddings", true},
      {"resampled pos_embed", "resized position_embeddings"},
      {"blocks.{i}.attn.qkv", {kQuery, kKey, kValue}},
      {"blocks.{i}.attn.proj", "encoder.layer.{i}.attention.output.dense"},
      {"blocks.{i}.attn", "encoder.layer.{i}.attention", true},
      {"blocks.{i}.ls1.gamma", "encoder.layer.{i}.layer_scale1.lambda1"},
      {"blocks.{i}.ls2.gamma", "encoder.layer.{i}.layer_scale2.lambda1"},
      {"blocks.{i}.ls1", "encoder.layer.{i}.layer_scale1"},
      {"blocks.{i}.ls2", "encoder.layer.{i}.layer_scale2"},
      {"blocks.{i}.mlp.w3", halves ? "encoder.layer.{i}.mlp.down_proj" : "encoder.layer.{i}.mlp.weights_out"},
      {"blocks.{i}", "encoder.layer.{i}"},
      {"norm", "layernorm"},
  };
  const auto at = out.rules.end() - 2;
  if (halves)
    out.rules.insert(
        at, {"blocks.{i}.mlp.w12", {"encoder.layer.{i}.mlp.gate_proj", "encoder.layer.{i}.mlp.up_proj"}});
  else
    out.rules.insert(at, {"blocks.{i}.mlp.w12", "encoder.layer.{i}.mlp.weights_in"});
  out.aliases = {
      {"encoder.layer.{i}.attention.q_proj", kQuery},
      {"encoder.layer.{i}.attention.k_proj", kKey},
      {"encoder.layer.{i}.attention.v_proj", kValue},
      {"encoder.layer.{i}.attention.o_proj", "encoder.layer.{i}.attention.output.dense"},
  };
  out.unused = {"classifier.*"};
  out.optional = {"mask_token"};
  out.overrides = {{"registers", R"({"pos_resize":"bicubic_antialias"})"},
                   {"!registers", R"({"pos_resize":"bicubic"})"}};
  return out;
}

/// timm. With registers it adds the table's first row to the class token and drops it; the masked-training
/// token is gone. SwiGLU's two matrices have the names of the plain ones: on the way back the plain ones are
/// meant.
Renames timm_names() {
  Renames out;
  out.naming = "timm";
  out.rules = {
      {"register_tokens", "reg_token"},
      {"blocks.{i}.mlp.fc1", "blocks.{i}.mlp.fc1"},
      {"blocks.{i}.mlp.fc2", "blocks.{i}.mlp.fc2"},
      {"blocks.{i}.mlp.w12", "blocks.{i}.mlp.fc1"},
      {"blocks.{i}.mlp.w3", "blocks.{i}.mlp.fc2"},
  };
  out.overrides = {{"", R"({"mask_token":false,"pos_resize":"bicubic_antialias"})"},
                   {"registers", R"({"pos_embed_prefix":false})"}};
  out.preprocess = {{"", R"({"rows":518,"columns":518,"crop_pct":1.0,"resize_to":0})"}};
  return out;
}

}  // namespace

std::vector<Renames> renames_dinov2() {
  Renames meta;
  meta.naming = "facebookresearch/dinov2";
  meta.aliases = {{"blocks.{c}.{i}", "blocks.{i}"}};  // training checkpoints group blocks in chunks
  meta.optional = {"mask_token"};
  meta.overrides = {{"registers", R"({"pos_resize":"bicubic_antialias"})"},
                    {"!registers", R"({"pos_resize":"bicubic_offset"})"}};
  return {meta, timm_names(), transformers_names(false), transformers_names(true)};
}

}  // namespace locant
