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

/// The whole model, as facebookresearch and MobileSAM write it.
Renames official_whole() {
  Renames out;
  out.naming = "segment-anything";
  out.unused = {"pixel_mean", "pixel_std"};
  return out;
}

/// Hugging Face's SamModel, as on the hub. The random matrix of the positions is held once or twice.
Renames transformers_whole() {
  Renames out;
  out.naming = "transformers";
  out.rules = {
      {"image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"},
      {"image_encoder.blocks.{i}.norm1", "vision_encoder.layers.{i}.layer_norm1"},
      {"image_encoder.blocks.{i}.norm2", "vision_encoder.layers.{i}.layer_norm2"},
      {"image_encoder.blocks.{i}", "vision_encoder.layers.{i}"},
      {"image_encoder.neck.0", "vision_encoder.neck.conv1"},
      {"image_encoder.neck.1", "vision_encoder.neck.layer_norm1"},
      {"image_encoder.neck.2", "vision_encoder.neck.conv2"},
      {"image_encoder.neck.3", "vision_encoder.neck.layer_norm2"},
      {"image_encoder", "vision_encoder"},
      {"prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
       "shared_image_embedding.positional_embedding"},
      {"prompt_encoder.point_embeddings", "prompt_encoder.point_embed"},
      {"prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"},
      {"prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"},
      {"prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"},
      {"prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"},
      {"prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"},
      {"mask_decoder.transformer.layers.{i}.norm{n}", "mask_decoder.transformer.layers.{i}.layer_norm{n}"},
      {"mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"},
      {"mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"},
      {"mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"},
      {"mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"},
      {"mask_decoder.output_hypernetworks_mlps.{m}.layers.0",
       "mask_decoder.output_hypernetworks_mlps.{m}.proj_in"},
      {"mask_decoder.output_hypernetworks_mlps.{m}.layers.1",
       "mask_decoder.output_hypernetworks_mlps.{m}.layers.0"},
      {"mask_decoder.output_hypernetworks_mlps.{m}.layers.2",
       "mask_decoder.output_hypernetworks_mlps.{m}.proj_out"},
      {"mask_decoder.iou_prediction_head.layers.0", "mask_decoder.iou_prediction_head.proj_in"},
      {"mask_decoder.iou_prediction_head.layers.1", "mask_decoder.iou_prediction_head.layers.0"},
      {"mask_decoder.iou_prediction_head.layers.2", "mask_decoder.iou_prediction_head.proj_out"},
  };
  out.aliases = {{"prompt_encoder.shared_embedding.positional_embedding",
                  "shared_image_embedding.positional_embedding"}};
  return out;
}

}  // namespace

std::vector<Renames> renames_sam() {
  std::vector<Renames> out = {official_whole(), transformers_whole()};
  for (Renames& renames : out)  // of MobileSAM's encoder
    renames.derived = {"*.num_batches_tracked", "*.attention_bias_idxs", "*.attn.ab"};
  return out;
}

std::vector<Renames> renames_sam_image_encoder() {
  return {official_names(), timm_names(), transformers_names(), deepseek_names()};
}

}  // namespace locant
