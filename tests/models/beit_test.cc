#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace beit_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":[12,8],"patch_size":4,"dim":8,"heads":2,"depth":2,"num_classes":3,"bias_resize":"geometric_linear"})";

std::int64_t count(const std::string& name) {
  std::int64_t out = 0;
  const ModelEntry& entry = find_model(name);
  for (const Parameter& p : model_parameters(entry.family, entry.config)) out += p.shape.numel();
  return out;
}

std::unique_ptr<Model> made(const std::string& more = "{}", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model("beit", merge_config(kTiny, more), Weights(source, mode));
}

Tensor answer(const std::string& more, const Tensor& images) {
  return made(more)->forward({}, Var(images)).value();
}

TEST(Beit, ParameterCountsArePublished) {
  EXPECT_EQ(count("beit_base_patch16_224"), 86'530'984);
  EXPECT_EQ(count("beit_base_patch16_384"), 86'744'104);
  EXPECT_EQ(count("beit_large_patch16_224"), 304'430'568);
  EXPECT_EQ(count("beit_large_patch16_384"), 304'998'888);
  EXPECT_EQ(count("beit_large_patch16_512"), 305'674'728);
  EXPECT_EQ(count("beitv2_base_patch16_224"), 86'530'984);
  EXPECT_EQ(count("beitv2_large_patch16_224"), 304'430'568);
}

// Of grids that are no square, and of others than the table's.
TEST(Beit, FeaturesOfAnySize) {
  const auto model = made();
  const Features f = model->features({}, Var(random_tensor({2, 3, 16, 20}, 3)));
  ASSERT_EQ(f.levels.size(), 1u);
  EXPECT_EQ(f.last().tokens.shape(), (Shape{2, 20, 8}));
  EXPECT_EQ(f.last().grid.columns, 5);
  EXPECT_EQ(f.last().stride, 4);
  EXPECT_EQ(f.cls.shape(), (Shape{2, 8}));
  EXPECT_EQ(model->forward({}, Var(random_tensor({2, 3, 16, 20}, 3))).shape(), (Shape{2, 3}));
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 3, 16, 18}, 3))), Error);
}

// Each sample is answered as if it were alone.
TEST(Beit, SamplesOfABatchAreApart) {
  const Tensor both = random_tensor({2, 3, 12, 8}, 4);
  Tensor second({1, 3, 12, 8});
  for (std::int64_t i = 0; i < second.numel(); ++i) second[i] = both[second.numel() + i];
  const Tensor together = answer("{}", both), alone = answer("{}", second);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_NEAR(together[3 + i], alone[i], 1e-6f * std::abs(alone[i]));
}

TEST(Beit, NamesFollowTheConfiguration) {
  const auto has = [](const std::string& more, const std::string& name) {
    for (const Parameter& p : model_parameters("beit", merge_config(kTiny, more)))
      if (p.name == name) return true;
    return false;
  };
  EXPECT_TRUE(has("{}", "fc_norm.weight"));
  EXPECT_TRUE(has(R"({"pool":"cls"})", "norm.weight"));
  EXPECT_TRUE(has(R"({"bias_table":"shared_with_cls"})", "rel_pos_bias.relative_position_bias_table"));
  EXPECT_FALSE(has(R"({"bias_table":"none"})", "blocks.0.attn.relative_position_bias_table"));
  EXPECT_FALSE(has(R"({"qkv_bias":"none"})", "blocks.0.attn.q_bias"));
  EXPECT_FALSE(has(R"({"layer_scale":false})", "blocks.1.gamma_2"));
  EXPECT_TRUE(has(R"({"pos_embed":"learned"})", "pos_embed"));
}

// The official start: branches are smaller the deeper they are, the head is nearly zero.
TEST(Beit, StartsSmall) {
  const auto model = made(R"({"dim":64,"layer_scale_init":0.25,"num_classes":50})", WeightMode::train);
  const auto deviation = [&](const std::string& name) {
    for (const Parameter& p : model->parameters())
      if (p.name == name) {
        double sum = 0;
        for (const float x : p.value.value().values()) sum += static_cast<double>(x) * x;
        return std::sqrt(sum / static_cast<double>(p.shape.numel()));
      }
    ADD_FAILURE() << name;
    return 0.0;
  };
  EXPECT_NEAR(deviation("blocks.0.attn.qkv.weight"), 0.02, 1e-3);
  EXPECT_NEAR(deviation("blocks.0.attn.proj.weight"), 0.02 / std::sqrt(2.0), 1e-3);
  EXPECT_NEAR(deviation("blocks.1.mlp.fc2.weight"), 0.01, 1e-3);
  EXPECT_NEAR(deviation("head.weight"), 2e-5, 2e-6);
  EXPECT_EQ(deviation("blocks.1.gamma_1"), 0.25);
  EXPECT_EQ(deviation("blocks.0.attn.relative_position_bias_table"), 0.0);
}

TEST(Beit, RefusesWhatCannotBe) {
  for (const char* bad : {R"({"heads":3})", R"({"img_size":13})", R"({"final_norm":"norm"})",
                          R"({"pool":"cls","final_norm":"fc_norm"})", R"({"prefix_tokens":[]})",
                          R"({"bias_resize":"bicubic"})", R"({"qkv_bias":"full"})", R"({"act":"relu"})"})
    EXPECT_THROW(made(bad), Error) << bad;
}

// A grid that is no square must be told; a told one with other rows gives way to a square.
TEST(Beit, ShapesTellTheGrid) {
  std::map<std::string, Shape> shapes;
  for (const Parameter& p : model_parameters("beit", kTiny)) shapes.emplace(p.name, p.shape);
  const auto told = [&](const char* by) { return kBeit.from_shapes(kBeit, NamedShapes("beit", shapes), by); };
  EXPECT_NE(told(R"({"img_size":[12,8],"patch_size":4})").find(R"("img_size":[12,8])"), std::string::npos);
  EXPECT_THROW(told(""), Error);
  EXPECT_THROW(told(R"({"img_size":16,"patch_size":4})"), Error);
}

}  // namespace beit_test
}  // namespace locant
