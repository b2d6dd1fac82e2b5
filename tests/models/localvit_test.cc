#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace localvit_test {

using testing::random_tensor;

constexpr const char* kSmall = R"({"img_size":16,"patch_size":4,"dim":8,"heads":2,"depth":2,"num_classes":3)";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(2);
  return make_model("localvit", kSmall + more + "}", Weights(source, mode));
}

// Trainable numbers.
TEST(LocalVit, ParameterCountsOfThePaper) {
  for (const auto& [name, count] : {std::pair{"localvit_tiny_mlp4_act3_r192", 5'908'696},
                                    {"localvit_tiny_mlp4_act3_r4", 9'376'168},
                                    {"localvit_small_mlp4_act3_r384", 22'433'176},
                                    {"localvit_tiny_mlp6_act1", 7'655'080}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config))
      if (p.learned) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

TEST(LocalVit, InferenceAndTrainingWeightsGiveTheSame) {
  const Var images(random_tensor({2, 3, 16, 16}, 1));
  for (const char* more : {"", R"(,"gate":"none","act":"relu6","mlp_ratio":1.5)", R"(,"gate":"eca")",
                           R"(,"gate":"ecah","ffn_kernel":5,"qkv_bias":"none")"}) {
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 3})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(LocalVit, FeaturesAndAnotherSizeWithARule) {
  const Features features =
      make_small(R"(,"pos_resize":"bicubic")")->features({}, Var(random_tensor({1, 3, 12, 20}, 1)));
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 15, 8}));
  EXPECT_EQ(features.last().grid.rows, 3);
  EXPECT_EQ(features.cls.shape(), (Shape{1, 8}));
  EXPECT_EQ(features.attention.shape(), (Shape{1, 2, 15}));
  EXPECT_THROW(make_small("")->forward({}, Var(Tensor::zeros({1, 3, 12, 20}))), Error);
}

// The official kernel of ECA grows with the logarithm of the channels: 32 give 3, 768 give 5.
TEST(LocalVit, ShapesTellTheGate) {
  const Family& family = find_family("localvit");
  for (const char* gate : {"none", "se", "eca"}) {
    const std::string more = fmt::format(R"(,"dim":192,"heads":4,"reduction":96,"gate":"{}")", gate);
    const std::string config = R"({"img_size":16,"patch_size":4,"depth":1)" + more + "}";
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("localvit", config)) shapes.emplace(p.name, p.shape);
    const std::string told = family.from_shapes(family, NamedShapes("localvit", shapes), "");
    EXPECT_NE(told.find(fmt::format(R"("gate":"{}")", gate)), std::string::npos) << told;
    EXPECT_NE(told.find(R"("heads":4)"), std::string::npos) << told;
    EXPECT_NE(told.find(std::string(gate) == "none" ? R"("act":"relu6")" : R"("act":"hard_swish")"),
              std::string::npos)
        << told;
    if (std::string(gate) == "se") {
      EXPECT_NE(told.find(R"("reduction":96)"), std::string::npos) << told;
    }
    if (std::string(gate) == "eca") {
      EXPECT_EQ(shapes.at("blocks.0.conv.conv.6.conv.weight"), (Shape{1, 1, 5}));
    }
  }
}

TEST(LocalVit, RefusesWhatDoesNotFit) {
  const auto error_of = [](const std::string& more) -> std::string {
    try {
      make_small(more);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of(R"(,"ffn_kernel":4)").find("ffn_kernel 4 must be odd"), std::string::npos);
  EXPECT_NE(error_of(R"(,"reduction":33)").find("reduction 33"), std::string::npos);
  EXPECT_NE(error_of(R"(,"act":"gelu")").find("act"), std::string::npos);
  EXPECT_NE(error_of(R"(,"pool":"mean")").find("pool"), std::string::npos);
  EXPECT_THROW(make_small("")->forward({}, Var(Tensor::zeros({1, 1, 16, 16}))), Error);
}

}  // namespace localvit_test
}  // namespace locant
