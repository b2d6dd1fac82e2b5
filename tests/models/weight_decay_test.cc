// Which tensors weight decay leaves alone: by family, beside all of fewer than two axes.
#include <gtest/gtest.h>

#include <cctype>
#include <map>
#include <set>

#include "models/registry.h"

namespace locant {
namespace weight_decay_test {

using Names = std::set<std::string>;

// layers.0.blocks.11.attn -> layers.N.blocks.N.attn
std::string without_numbers(const std::string& name) {
  std::string out;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const bool part = i == 0 || name[i - 1] == '.';
    if (part && std::isdigit(static_cast<unsigned char>(name[i])) != 0) {
      out += 'N';
      while (i + 1 < name.size() && name[i + 1] != '.') ++i;
    } else {
      out += name[i];
    }
  }
  return out;
}

void collect(const std::vector<Parameter>& parameters, Names* exempt) {
  for (const Parameter& p : parameters) {
    if (p.shape.rank() < 2)
      EXPECT_FALSE(p.decays) << p.name;
    else if (!p.decays)
      exempt->insert(without_numbers(p.name));
  }
}

// Swin, Video Swin, AIM, TinyViT, LeViT, CaiT: no_weight_decay and its keywords of Microsoft's code. PVT: its
// tables decay. CPVT: PEG's weights do not, as in Twins. ViT, DeiT, BEiT, EVA-02, RoPE-ViT: timm's. NAT:
// SHI-Labs'. MViTv2's tables decay, as its recipes leave no_weight_decay empty. iRPE: its tables do, as in
// the official code; CeiT's position of layers does, too, and BoTNet's and HaloNet's tables in timm. Segment
// Anything: position tables as in ViTDet and MViTv2; its tokens as class tokens.
TEST(WeightDecay, LeavesPositionTablesAndTokensAlone) {
  const std::map<std::string, Names> want = {
      {"swin", {"layers.N.blocks.N.attn.relative_position_bias_table"}},
      {"swin_v2", {"layers.N.blocks.N.attn.cpb_mlp.N.weight", "layers.N.blocks.N.attn.logit_scale"}},
      {"video_swin", {"layers.N.blocks.N.attn.relative_position_bias_table"}},
      {"aim_swin",
       {"layers.N.blocks.N.attn.relative_position_bias_table",
        "layers.N.blocks.N.attn.temporal_position_bias_table"}},
      {"vit", {"cls_token", "pos_embed"}},
      {"beit",
       {"blocks.N.attn.relative_position_bias_table", "cls_token",
        "rel_pos_bias.relative_position_bias_table"}},
      {"vit_relpos", {"cls_token"}},
      {"eva02", {"cls_token", "pos_embed"}},
      {"vit_rope", {"cls_token", "pos_embed", "reg_token", "rope.freqs"}},
      {"convit", {"cls_token", "pos_embed"}},
      {"pvt_v2", {}},
      {"nat", {"levels.N.blocks.N.attn.rpb"}},
      {"cpvt", {"cls_token", "pos_block.N.proj.N.weight"}},
      {"localvit", {"cls_token", "pos_embed"}},
      {"cvt", {"stage2.cls_token"}},
      {"ceit", {"cls_token", "pos_embed"}},
      {"axial_resnet",
       {"layer1.N.hight_block.relative", "layer1.N.width_block.relative", "layer2.N.hight_block.relative",
        "layer2.N.width_block.relative", "layer3.N.hight_block.relative", "layer3.N.width_block.relative",
        "layer4.N.hight_block.relative", "layer4.N.width_block.relative"}},
      {"botnet", {}},
      {"halonet", {}},
      {"sasa_resnet",
       {"conv1.emb_a", "conv1.emb_b", "conv1.emb_mix", "layer1.N.conv2.rel_h", "layer1.N.conv2.rel_w",
        "layer2.N.conv2.rel_h", "layer2.N.conv2.rel_w", "layer3.N.conv2.rel_h", "layer3.N.conv2.rel_w",
        "layer4.N.conv2.rel_h", "layer4.N.conv2.rel_w"}},
      {"aa_resnet",
       {"layer2.N.conv2.key_rel_h", "layer2.N.conv2.key_rel_w", "layer3.N.conv2.key_rel_h",
        "layer3.N.conv2.key_rel_w", "layer4.N.conv2.key_rel_h", "layer4.N.conv2.key_rel_w"}},
      {"deit", {"cls_token", "dist_token", "pos_embed"}},
      {"dinov2", {"cls_token", "mask_token", "pos_embed", "register_tokens"}},
      {"deit_irpe", {"cls_token", "pos_embed"}},
      {"detr_irpe", {}},
      {"simple_vit", {}},
      {"pvt", {"cls_token"}},
      {"twins_pcpvt", {"pos_block.N.proj.N.weight"}},
      {"twins_svt", {"pos_block.N.proj.N.weight"}},
      {"levit",
       {"stages.N.blocks.N.attn.attention_biases", "stages.N.downsample.attn_downsample.attention_biases"}},
      {"cait", {"cls_token", "pos_embed"}},
      {"mvitv2", {"cls_token"}},
      {"vitdet", {"blocks.N.attn.rel_pos_h", "blocks.N.attn.rel_pos_w", "pos_embed"}},
      {"xcit", {"blocks.N.attn.temperature", "cls_token"}},
      {"tiny_vit", {"layers.N.blocks.N.attn.attention_biases"}},
      {"t5_encoder", {"encoder.block.N.layer.N.SelfAttention.relative_attention_bias.weight"}},
      {"transformer_xl",
       {"layers.N.dec_attn.r_r_bias", "layers.N.dec_attn.r_w_bias", "r_r_bias", "r_w_bias"}},
      {"deberta_v2", {"encoder.rel_embeddings.weight"}},
      {"conformer",
       {"layers.N.sequential.N.module.attention.u_bias", "layers.N.sequential.N.module.attention.v_bias"}},
      {"wav2vec2_conformer",
       {"layers.N.sequential.N.module.attention.u_bias", "layers.N.sequential.N.module.attention.v_bias"}},
      {"music_transformer", {"layers.N.self_attn.Er"}},
      {"sam_image_encoder", {"blocks.N.attn.rel_pos_h", "blocks.N.attn.rel_pos_w", "pos_embed"}},
      {"sam",
       {"image_encoder.blocks.N.attn.rel_pos_h", "image_encoder.blocks.N.attn.rel_pos_w",
        "image_encoder.layers.N.blocks.N.attn.attention_biases", "image_encoder.pos_embed",
        "mask_decoder.iou_token.weight", "mask_decoder.mask_tokens.weight",
        "prompt_encoder.no_mask_embed.weight", "prompt_encoder.not_a_point_embed.weight",
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        "prompt_encoder.point_embeddings.N.weight"}},
  };
  std::map<std::string, Names> got;
  for (const ModelEntry& entry : model_entries())
    collect(model_parameters(entry.family, entry.config), &got[entry.family]);
  EXPECT_EQ(got, want) << "a new family says here which of its tensors do not decay";
}

TEST(WeightDecay, LeavesOptionalTablesAlone) {
  Names swin;
  collect(model_parameters("swin", R"({"absolute_pos":true})"), &swin);
  EXPECT_EQ(swin.count("absolute_pos_embed"), 1u);
}

}  // namespace weight_decay_test
}  // namespace locant
