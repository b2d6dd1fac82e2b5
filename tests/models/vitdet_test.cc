#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace vitdet_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":64,"pretrain_size":48,"patch_size":16,"in_chans":1,"dim":8,"heads":2,"depth":3,"window":2,)"
    R"("window_blocks":[0,1],"mlp_ratio":1.5,"pyramid_chans":4)";

std::unique_ptr<Model> tiny(const std::string& more = "", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model("vitdet", kTiny + more + "}", Weights(source, mode));
}

// Of the pyramid, and all.
TEST(Vitdet, ParameterCountsOfDetectron2) {
  for (const auto& [name, pyramid, all] : {std::tuple{"vitdet_b", 5'560'000, 91'449'024},
                                           {"vitdet_l", 7'805'184, 311'237'888},
                                           {"vitdet_h", 10'640'192, 641'756'992}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t levels = 0, numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) {
      numbers += p.shape.numel();
      if (p.name.starts_with("simfp_")) levels += p.shape.numel();
    }
    EXPECT_EQ(levels, pyramid) << name;
    EXPECT_EQ(numbers, all) << name;
  }
}

// A grid of 4 x 4 is the tables', one of 5 x 3 is not and pads its windows.
TEST(Vitdet, FeaturesAreThePyramid) {
  const auto model = tiny();
  for (const auto& [rows, columns] : {std::pair{64, 64}, {80, 48}}) {
    const Var images(random_tensor({2, 1, rows, columns}, 2));
    const Features features = model->features({}, images);
    ASSERT_EQ(features.levels.size(), 4u);
    std::int64_t stride = 4;
    for (const Features::Level& level : features.levels) {
      EXPECT_EQ(level.stride, stride);
      EXPECT_EQ(level.grid.rows, rows / stride);
      EXPECT_EQ(level.grid.columns, columns / stride);
      EXPECT_EQ(level.tokens.shape(), (Shape{2, level.grid.tokens(), 4}));
      stride *= 2;
    }
    EXPECT_EQ(features.cls.shape(), (Shape{2, 4}));
    const Values maps = model->run({}, {{"images", images}});
    ASSERT_EQ(maps.size(), 5u);
    EXPECT_EQ(maps.at("p2").shape(), (Shape{2, 4, rows / 4, columns / 4}));
    EXPECT_EQ(maps.at("p6").shape(), (Shape{2, 4, (rows / 32 + 1) / 2, (columns / 32 + 1) / 2}));
  }
}

TEST(Vitdet, WithoutAPyramidTheMapIsTheAnswer) {
  const auto model = tiny(R"(,"pyramid_chans":0,"residual_blocks":[1])");
  const Var images(random_tensor({1, 1, 32, 48}, 2));
  EXPECT_EQ(model->forward({}, images).shape(), (Shape{1, 8, 2, 3}));
  EXPECT_EQ(model->features({}, images).last().stride, 16);
}

// Padding slots of windows are keys with and without a bias.
TEST(Vitdet, BiasOfTheProjectionMayBeAbsent) {
  const Var images(random_tensor({1, 1, 48, 80}, 2));
  for (const char* more : {R"(,"qkv_bias":"none")", R"(,"rel_pos":false)", R"(,"absolute_pos":false)",
                           R"(,"qkv_bias":"none","rel_pos":false,"window":0,"window_blocks":[])"})
    EXPECT_EQ(tiny(more)->forward({}, images).shape(), (Shape{1, 4, 12, 20})) << more;
}

TEST(Vitdet, RefusesWhatDoesNotFit) {
  for (const char* more : {R"(,"window":0)", R"(,"window_blocks":[3])", R"(,"residual_blocks":[3])",
                           R"(,"heads":3)", R"(,"img_size":8)", R"(,"dim":6)", R"(,"act":"relu")"})
    EXPECT_THROW(tiny(more), Error) << more;
  EXPECT_THROW(tiny()->forward({}, Var(Tensor::zeros({1, 1, 60, 64}))), Error);
  EXPECT_THROW(tiny()->forward({}, Var(Tensor::zeros({1, 1, 16, 64}))), Error);
}

}  // namespace vitdet_test
}  // namespace locant
