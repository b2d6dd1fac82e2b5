#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace ceit_test {

using testing::random_tensor;
using Json = nlohmann::json;

constexpr const char* kSmall =
    R"({"img_size":[32,48],"patch_size":2,"in_chans":2,"num_classes":5,"stem_chans":[6],"dim":8,"depth":2,)"
    R"("heads":2,"mlp_ratio":2})";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(3);
  Json config = Json::parse(kSmall);
  config.update(Json::parse(more));
  return make_model("ceit", config.dump(), Weights(source, mode));
}

TEST(Ceit, ParameterCountsArePublished) {
  for (const auto& [name, want] :
       {std::pair{"ceit_tiny", 6'356'904}, {"ceit_small", 24'204'840}, {"ceit_base", 94'405'416}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& parameter : model_parameters(entry.family, entry.config))
      if (parameter.learned) numbers += parameter.shape.numel();
    EXPECT_EQ(numbers, want) << name;
  }
}

TEST(Ceit, InferenceAndTrainingWeightsGiveTheSame) {
  for (const char* more : {"{}", R"({"leff_batch_norm":false,"leff_kernel":5,"qkv_bias":"none"})"}) {
    const Var images(random_tensor({2, 2, 32, 48}, 1));
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 5})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

// 38 x 51: (38 - 1) / 2 + 1 = 19 rows of the convolution, 10 of the pool, 5 patches of 2.
TEST(Ceit, FeaturesAreThePatches) {
  const Features features = make_small("{}")->features({}, Var(random_tensor({1, 2, 38, 51}, 1)));
  EXPECT_EQ(features.last().grid.rows, 5);
  EXPECT_EQ(features.last().grid.columns, 6);
  EXPECT_EQ(features.last().stride, 8);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 30, 8}));
  EXPECT_EQ(features.cls.shape(), (Shape{1, 8}));
}

// The head hears of a block through its class token: the layer's position reaches the answer.
TEST(Ceit, LayerPositionsReachTheAnswer) {
  const auto answer = [](float first) {
    RandomSource source(3);
    const auto model = make_model("ceit", kSmall, Weights(source, WeightMode::train));
    for (const Parameter& parameter : model->parameters())
      if (parameter.name == "pos_layer_embed") {
        Tensor table = parameter.value.value();
        EXPECT_EQ(table.shape(), (Shape{1, 2, 8}));
        for (std::int64_t c = 0; c < 8; ++c) {
          EXPECT_EQ(table[c], 0.0f);  // so they start
          table[c] = first * static_cast<float>(c);
        }
      }
    return model->forward({}, Var(random_tensor({1, 2, 32, 48}, 1))).value()[0];
  };
  EXPECT_NE(answer(0.0f), answer(3.0f));
}

TEST(Ceit, RefusesWhatCannotBe) {
  for (const char* more : {R"({"heads":3})", R"({"stem_chans":[4,4]})", R"({"stem_kernel":4})",
                           R"({"leff_kernel":4})", R"({"lca":false})", R"({"img_size":[1,48]})"})
    EXPECT_THROW(make_small(more), Error) << more;
  EXPECT_THROW(make_small("{}")->forward({}, Var(random_tensor({1, 3, 32, 48}, 1))), Error);
  EXPECT_THROW(make_small("{}")->forward({}, Var(random_tensor({1, 2, 32, 2}, 1))), Error);
  EXPECT_THROW(make_small(R"({"pos_resize":"none"})")->forward({}, Var(random_tensor({1, 2, 48, 48}, 1))),
               Error);
}

TEST(Ceit, ShapesTellTheRest) {
  const Family& family = find_family("ceit");
  const auto told = [&](const std::string& by) {
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("ceit", kSmall)) shapes.emplace(p.name, p.shape);
    return Json::parse(family.from_shapes(family, NamedShapes("ceit", shapes), by));
  };
  EXPECT_EQ(told(kSmall)["img_size"], (std::vector<int>{32, 48}));
  EXPECT_EQ(told(kSmall)["heads"], 2);
  EXPECT_THROW(told(""), Error);  // 4 x 6 patches are no square
  EXPECT_EQ(told(R"({"img_size":[48,32]})")["heads"], 1);
}

}  // namespace ceit_test
}  // namespace locant
