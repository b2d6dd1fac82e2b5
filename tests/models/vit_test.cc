#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace vit_test {

using testing::random_tensor;

constexpr const char* kSmall =
    R"({"img_size":[16,24],"patch_size":[8,8],"in_chans":2,"num_classes":5,"dim":12,"depth":2,"heads":3)";

std::string small(const std::string& more = "") { return kSmall + more + "}"; }

std::unique_ptr<Model> make_small(const std::string& family, const std::string& more, WeightMode mode) {
  RandomSource source(3);
  return make_model(family, small(more), Weights(source, mode));
}

std::int64_t numbers(const std::vector<Parameter>& parameters) {
  std::int64_t out = 0;
  for (const Parameter& parameter : parameters) out += parameter.shape.numel();
  return out;
}

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Vit, ParameterCountsAreThePublishedOnes) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"vit_tiny_patch16_224", 5717416},
      {"vit_small_patch16_224", 22050664},
      {"vit_base_patch16_224", 86567656},
      {"vit_base_patch32_224", 88224232},
      {"vit_large_patch16_224", 304326632},
      {"vit_huge_patch14_224", 632045800},
      {"deit_tiny_patch16_224", 5717416},
      {"deit_tiny_distilled_patch16_224", 5910800},
      {"vit_b_16", 86567656},
      {"deit3_small_patch16_224", 22059496},
      {"deit3_small_patch16_384", 22205416},
      {"deit3_medium_patch16_224", 38849512},
      {"deit3_base_patch16_224", 86585320},
      {"deit3_base_patch16_384", 86877160},
      {"deit3_large_patch16_224", 304374760},
      {"deit3_large_patch16_384", 304763880},
      {"deit3_huge_patch14_224", 632126440},
  };
  for (const auto& [name, count] : cases) {
    const ModelEntry& entry = find_model(name);
    EXPECT_EQ(numbers(model_parameters(entry.family, entry.config)), count) << name;
  }
}

TEST(Vit, InferenceAndTrainingWeightsGiveTheSameLogits) {
  for (const char* more : {"", R"(,"layer_scale":true,"pos_embed_prefix":false)", R"(,"qkv_bias":"none")",
                           R"(,"pool":"mean_patches")", R"(,"prefix_tokens":[],"pool":"mean_patches")"}) {
    const Var images(random_tensor({2, 2, 16, 24}, 1));
    const Var recorded = make_small("vit", more, WeightMode::train)->forward({}, images);
    const Var packed = make_small("vit", more, WeightMode::inference)->forward({}, images);
    ASSERT_EQ(packed.shape(), (Shape{2, 5}));
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(Vit, EveryParameterGetsAGradient) {
  const auto model = make_small("vit", R"(,"layer_scale":true)", WeightMode::train);
  Tape tape;
  const Var logits = model->forward({&tape}, Var(random_tensor({1, 2, 32, 16}, 2)));  // resizes the table
  tape.backward({{logits, random_tensor(logits.shape(), 4)}});
  for (const Parameter& parameter : model->parameters()) {
    ASSERT_TRUE(parameter.value.grad().defined()) << parameter.name;
    EXPECT_EQ(parameter.value.grad().shape(), parameter.shape) << parameter.name;
  }
}

TEST(Vit, DistilledModelAveragesItsHeads) {
  constexpr const char* kDistilled = R"(,"prefix_tokens":["cls_token","dist_token"],"pool":"mean_two_heads")";
  const auto model = make_small("deit", kDistilled, WeightMode::train);
  std::map<std::string, Var> by_name;
  for (const Parameter& parameter : model->parameters()) by_name[parameter.name] = parameter.value;
  ASSERT_EQ(by_name.at("pos_embed").shape(), (Shape{1, 8, 12}));
  for (const char* name : {"head.weight", "head_dist.weight"}) by_name[name].assign(Tensor::zeros({5, 12}));
  by_name["head.bias"].assign(Tensor::full({5}, 1.0f));
  by_name["head_dist.bias"].assign(Tensor::full({5}, 4.0f));
  const Var logits = model->forward({}, Var(random_tensor({1, 2, 16, 24}, 1)));
  for (const float x : logits.value().values()) EXPECT_FLOAT_EQ(x, 2.5f);
}

TEST(Vit, FeaturesAreTheNormedTokensAndTheAttentionOfTheClassToken) {
  const auto model = make_small("vit", R"(,"pool":"none")", WeightMode::train);
  for (const Parameter& parameter : model->parameters())
    if (parameter.name == "pos_embed") {
      Var table = parameter.value;
      table.assign(Tensor::zeros(parameter.shape));
    }
  const Var images(
      Tensor::full({2, 2, 16, 24}, 0.5f));  // and no position: the patches are equal, cls is another
  const Features features = model->features({}, images);
  EXPECT_EQ(features.last().grid.rows, 2);
  EXPECT_EQ(features.last().grid.columns, 3);
  ASSERT_EQ(features.cls.shape(), (Shape{2, 12}));
  ASSERT_EQ(features.last().tokens.shape(), (Shape{2, 6, 12}));
  const Tensor tokens = model->forward({}, images).value();  // (2, 1 + 6, 12)
  for (int b = 0; b < 2; ++b)
    for (int i = 0; i < 7; ++i)
      for (int c = 0; c < 12; ++c)
        EXPECT_EQ(tokens[(b * 7 + i) * 12 + c],
                  i == 0 ? features.cls.value()[b * 12 + c]
                         : features.last().tokens.value()[(b * 6 + i - 1) * 12 + c]);
  ASSERT_EQ(features.attention.shape(), (Shape{2, 3, 6}));
  for (int row = 0; row < 6; ++row) {
    const float p = features.attention[row * 6];
    EXPECT_GT(std::abs(p - 1.0f / 7.0f), 1e-4f);  // what cls gives itself differs, and is not among them
    for (int j = 0; j < 6; ++j) EXPECT_NEAR(features.attention[row * 6 + j], p, 1e-6);
  }
}

TEST(Vit, RepeatedInferenceGivesTheSameBits) {
  const auto model = make_small("vit", "", WeightMode::inference);
  for (const Shape& shape :
       {Shape{2, 2, 16, 24}, Shape{2, 2, 32, 24}}) {  // the second resizes the table, and keeps it
    const Var images(random_tensor(shape, 1));
    const auto run = [&] { return testing::to_double(model->forward({}, images).value()); };
    EXPECT_EQ(run(), run());
  }
}

TEST(Vit, PoolNoneGivesEveryToken) {
  const auto model = make_small("vit", R"(,"pool":"none")", WeightMode::inference);
  EXPECT_EQ(model->forward({}, Var(random_tensor({1, 2, 16, 24}, 1))).shape(), (Shape{1, 7, 12}));
}

TEST(Vit, DropPathActsInTrainingOnlyAndFromItsSeed) {
  const auto model = make_small("vit", R"(,"drop_path":0.9,"dropout":0.1)", WeightMode::train);
  const Var images(random_tensor({4, 2, 16, 24}, 1));
  const auto run = [&](bool train, std::uint64_t seed) {
    Rng rng(seed);
    return testing::to_double(model->forward({nullptr, train, &rng, nullptr}, images).value());
  };
  EXPECT_EQ(run(false, 1), run(false, 2));
  EXPECT_EQ(run(true, 1), run(true, 1));
  EXPECT_NE(run(true, 1), run(true, 2));
  EXPECT_NE(run(true, 1), run(false, 1));
}

TEST(Vit, NamingSetsWhatCheckpointsDoNotSay) {
  const auto field = [](const char* naming, const std::string& config, const char* key) {
    return nlohmann::json::parse(find_renames("vit", naming).complete(config))[key];
  };
  EXPECT_EQ(field("transformers", "{}", "norm_eps"), 1e-12);
  EXPECT_EQ(field("transformers", R"({"norm_eps":1e-5})", "norm_eps"), 1e-5);
  EXPECT_EQ(field("torchvision", "{}", "pos_resize"), "bicubic_corners");
  const auto plain = nlohmann::json::parse(make_small("vit", "", WeightMode::inference)->config());
  EXPECT_EQ(plain["norm_eps"], 1e-6);
  EXPECT_EQ(plain["pos_resize"], "bicubic_antialias");
}

TEST(Vit, ConfigurationRebuildsTheModel) {
  const auto model = make_small("vit", R"(,"layer_scale":true,"norm_eps":1e-7)", WeightMode::inference);
  const std::vector<Parameter> again = model_parameters("vit", model->config());
  ASSERT_EQ(again.size(), model->parameters().size());
  for (std::size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].name, model->parameters()[i].name);
    EXPECT_EQ(again[i].shape, model->parameters()[i].shape);
  }
}

TEST(Vit, WrongImagesSayWhatFits) {
  const auto model = make_small("vit", "", WeightMode::inference);
  const auto run = [&](const Shape& shape) {
    return message_of([&] { model->forward({}, Var(Tensor::zeros(shape))); });
  };
  EXPECT_NE(run({1, 2, 17, 30}).find("nearest size is 16 x 32"), std::string::npos);
  EXPECT_NE(run({1, 3, 16, 24}).find("(B, 2, H, W)"), std::string::npos);
  EXPECT_NE(run({1, 2, 3, 24}).find("nearest size is 8 x 24"), std::string::npos);
  EXPECT_NE(run({2, 16, 24}).find("(B, 2, H, W)"), std::string::npos);
  const auto fixed = make_small("vit", R"(,"pos_resize":"none")", WeightMode::inference);
  EXPECT_THROW(fixed->forward({}, Var(Tensor::zeros({1, 2, 24, 24}))), Error);
}

TEST(Vit, WrongConfigurationsAreErrors) {
  for (const char* more :
       {R"(,"heads":5)", R"(,"depht":3)", R"(,"pool":"max")", R"(,"act":"relu")", R"(,"patch_size":7)",
        R"(,"pool":"mean_two_heads")", R"(,"prefix_tokens":["dist_token"])", R"(,"mlp_ratio":-1)",
        R"(,"pos_resize":"nearest")", R"(,"qkv_bias":"q_v")", R"(,"dropout":1)", R"(,"dim":"x")"})
    EXPECT_THROW(make_small("vit", more, WeightMode::shapes), Error) << more;
}

}  // namespace vit_test
}  // namespace locant
