#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace axial_resnet_test {

using testing::random_tensor;
using Json = nlohmann::json;

constexpr const char* kSmall =
    R"({"img_size":[32,32],"in_chans":2,"num_classes":5,"stem_chans":[6],"depths":[1,2],"dims":[8,16],)"
    R"("strides":[1,2],"spans":[8,8],"groups":2})";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(3);
  Json config = Json::parse(kSmall);
  config.update(Json::parse(more));
  return make_model("axial_resnet", config.dump(), Weights(source, mode));
}

TEST(AxialResnet, ParameterCountsArePublished) {
  for (const auto& [name, want] : {std::pair{"axial26s", 5'944'936},
                                   {"axial50s", 11'586'216},
                                   {"axial50m", 25'179'400},
                                   {"axial50l", 43'973'480}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& parameter : model_parameters(entry.family, entry.config))
      if (parameter.learned) numbers += parameter.shape.numel();
    EXPECT_EQ(numbers, want) << name;
  }
}

TEST(AxialResnet, InferenceAndTrainingWeightsGiveTheSame) {
  for (const char* more : {"{}", R"({"base_width":128,"expansion":1,"groups":4})"}) {
    const Var images(random_tensor({2, 2, 32, 24}, 1));
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 5})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

// Every stage gives a level; 29 x 24: 15 x 12 behind the convolution, 8 x 6 behind the pool, then 4 x 3.
TEST(AxialResnet, FeaturesOfEveryStage) {
  const Features features = make_small("{}")->features({}, Var(random_tensor({1, 2, 29, 24}, 1)));
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{1, 48, 16}));
  EXPECT_EQ(features.levels[0].stride, 4);
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 3);
  EXPECT_EQ(features.last().stride, 8);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 12, 32}));
  EXPECT_EQ(features.cls.shape(), (Shape{1, 32}));
}

TEST(AxialResnet, RefusesWhatCannotBe) {
  for (const char* more : {R"({"groups":3})", R"({"depths":[1]})", R"({"spans":[8,1]})",
                           R"({"width_scale":0.5})", R"({"stem_chans":[]})", R"({"act":"gelu"})"})
    EXPECT_THROW(make_small(more), Error) << more;
  const auto model = make_small("{}");
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 3, 32, 32}, 1))), Error);
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 2, 33, 32}, 1))), Error);  // lines of 9 places
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 2, 18, 32}, 1))), Error);  // 5 rows, stride 2
}

// Convolutions start with the variance 2 / fan out.
TEST(AxialResnet, ConvolutionsStartByTheirOutputs) {
  const auto model = make_small(R"({"dims":[64,64],"groups":8})", WeightMode::train);
  int seen = 0;
  for (const Parameter& p : model->parameters()) {
    if (p.name != "layer1.0.conv_up.weight" && p.name != "layer2.0.downsample.0.weight") continue;
    double square = 0.0;
    for (const float x : p.value.value().values()) square += static_cast<double>(x) * static_cast<double>(x);
    EXPECT_NEAR(std::sqrt(square / static_cast<double>(p.shape.numel())), std::sqrt(2.0 / 128), 0.005)
        << p.name;
    ++seen;
  }
  EXPECT_EQ(seen, 2);
}

TEST(AxialResnet, ShapesTellTheRest) {
  const Family& family = find_family("axial_resnet");
  const auto told = [&](const std::string& by) {
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("axial_resnet", kSmall)) shapes.emplace(p.name, p.shape);
    return Json::parse(family.from_shapes(family, NamedShapes("axial_resnet", shapes), by));
  };
  const Json bare = told("");
  for (const char* key : {"img_size", "dims", "depths", "strides", "spans", "groups", "base_width"})
    EXPECT_EQ(bare[key], told(kSmall)[key]) << key;
  EXPECT_EQ(told(R"({"expansion":1})")["base_width"], 32);
}

}  // namespace axial_resnet_test
}  // namespace locant
