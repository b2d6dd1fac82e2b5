// EVA-02 and RoPE-ViT: counts, other pictures, what cannot be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/config_json.h"
#include "models/registry.h"
#include "position/rope_2d.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace eva_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":16,"patch_size":4,"dim":16,"heads":2,"depth":2,"num_classes":3})";

std::unique_ptr<Model> made(const std::string& more = "{}", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model("vit_rope", merge_config(kTiny, more), Weights(source, mode));
}

// timm 1.0.31's.
TEST(Eva, ParameterCountsAreTimms) {
  const std::pair<const char*, std::int64_t> counts[] = {
      {"eva02_tiny_patch14_224", 5'502'144},
      {"eva02_tiny_patch14_336", 5'756'584},
      {"eva02_small_patch14_224", 21'621'120},
      {"eva02_small_patch14_336", 22'129'000},
      {"eva02_base_patch14_224", 85'758'720},
      {"eva02_base_patch14_448", 87'117'544},
      {"eva02_large_patch14_224", 303'268'800},
      {"eva02_large_patch14_448", 305'080'232},
      {"eva02_base_patch16_clip_224", 86'263'040},
      {"eva02_large_patch14_clip_224", 304'105'152},
      {"eva02_large_patch14_clip_336", 304'432'832},
      {"eva02_enormous_patch14_clip_224", 4'350'556'928},
      {"vit_small_patch16_rope_224", 21'984'232},
      {"vit_base_patch16_rope_224", 86'434'792},
      {"vit_large_patch16_rope_224", 304'174'056},
      {"vit_small_patch16_rope_mixed_224", 21'988'840},
      {"vit_base_patch16_rope_mixed_224", 86'444'008},
      {"vit_large_patch16_rope_mixed_224", 304'198'632},
      {"vit_small_patch16_rope_ape_224", 22'059'496},
      {"vit_base_patch16_rope_ape_224", 86'585'320},
      {"vit_large_patch16_rope_ape_224", 304'374'760},
      {"vit_small_patch16_rope_mixed_ape_224", 22'064'104},
      {"vit_base_patch16_rope_mixed_ape_224", 86'594'536},
      {"vit_large_patch16_rope_mixed_ape_224", 304'399'336},
      {"vit_medium_patch16_rope_reg1_gap_256", 38'743'016},
      {"vit_mediumd_patch16_rope_reg1_gap_256", 63'945'704},
      {"vit_betwixt_patch16_rope_reg4_gap_256", 60'226'920},
      {"vit_base_patch16_rope_reg1_gap_256", 86'425'576}};
  for (const auto& [name, want] : counts) {
    const ModelEntry& entry = find_model(name);
    std::int64_t got = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) got += p.shape.numel();
    EXPECT_EQ(got, want) << name;
  }
}

// Angles are made, and tables resized, for any grid.
TEST(Eva, FeaturesOfAnySize) {
  for (const char* more :
       {"{}", R"({"rope":"mixed"})", R"({"rope":"mixed","pos_embed":"learned"})",
        R"({"rope_order":"yx","rope_ref_grid":[4,4],"pos_embed":"learned","pos_embed_prefix":true})",
        R"({"prefix_tokens":["reg_token"],"registers":3,"pool":"mean_patches","final_norm":"fc_norm"})",
        R"({"mlp":"swiglu_packed","mlp_norm":true,"attn_norm":true,"qkv_bias":"q_v"})",
        R"({"rope":"none","block_norm":"post","layer_scale":false})"}) {
    const auto model = made(more);
    const Var images(random_tensor({2, 3, 12, 20}, 3));
    const Features f = model->features({}, images);
    EXPECT_EQ(f.last().tokens.shape(), (Shape{2, 15, 16})) << more;
    EXPECT_EQ(f.cls.shape(), (Shape{2, 16})) << more;
    EXPECT_EQ(model->forward({}, images).shape(), (Shape{2, 3})) << more;
    EXPECT_THROW(model->forward({}, Var(random_tensor({1, 3, 12, 18}, 3))), Error);
  }
}

// Every block and head starts in a direction of its own, with the same speeds.
TEST(Eva, MixedFrequenciesStartInDirections) {
  const auto model = made(R"({"rope":"mixed"})", WeightMode::train);
  for (const Parameter& p : model->parameters()) {
    if (p.name != "rope.freqs") continue;
    EXPECT_FALSE(p.decays);
    ASSERT_EQ(p.shape, (Shape{2, 2, 2, 4}));  // axis, block, head, pair
    const Tensor& freqs = p.value.value();
    const auto at = [&](std::int64_t axis, std::int64_t block, std::int64_t head, std::int64_t pair) {
      return freqs[((axis * 2 + block) * 2 + head) * 4 + pair];
    };
    std::vector<float> directions;
    for (std::int64_t block = 0; block < 2; ++block)
      for (std::int64_t head = 0; head < 2; ++head) {
        EXPECT_NEAR(std::hypot(at(0, block, head, 0), at(1, block, head, 0)), 1.0, 1e-5);
        EXPECT_NEAR(std::hypot(at(0, block, head, 1), at(1, block, head, 1)), std::pow(10.0, -0.5), 1e-5);
        directions.push_back(std::atan2(at(1, block, head, 0), at(0, block, head, 0)));
      }
    std::sort(directions.begin(), directions.end());
    for (std::size_t i = 1; i < directions.size(); ++i) EXPECT_GT(directions[i] - directions[i - 1], 1e-3f);
    return;
  }
  FAIL() << "no frequencies";
}

TEST(Eva, RefusesWhatCannotBe) {
  for (const char* bad :
       {R"({"heads":3})", R"({"dim":12})", R"({"prefix_tokens":["reg_token","cls_token"]})",
        R"({"registers":2})", R"({"prefix_tokens":[]})", R"({"final_norm":"fc_norm"})",
        R"({"rope":"mixed","rope_order":"yx"})", R"({"rope_ref_grid":[4,4]})",
        R"({"rope_order":"yx","rope_ref_grid":[4,0]})", R"({"block_norm":"post"})",
        R"({"temperature":10000})", R"({"rope":"mixed","temperature":100})", R"({"rope_pairs":"halves"})",
        R"({"act":"silu"})", R"({"pos_embed":"learned","img_size":18})"})
    EXPECT_THROW(made(bad), Error) << bad;
}

}  // namespace eva_test
}  // namespace locant
