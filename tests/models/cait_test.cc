#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace cait_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":16,"patch_size":4,"dim":8,"heads":4,"depth":2,"class_depth":1,"num_classes":3,)"
    R"("mlp_ratio":1.5,"layer_scale_init":0.5})";

TEST(Cait, ParameterCountsOfTimm) {
  for (const auto& [name, count] : {std::pair{"cait_xxs24_224", 11'956'264},
                                    {"cait_xxs24_384", 12'029'224},
                                    {"cait_xxs36_224", 17'299'720},
                                    {"cait_xxs36_384", 17'372'680},
                                    {"cait_xs24_384", 26'670'088},
                                    {"cait_s24_224", 46'916'200},
                                    {"cait_s24_384", 47'062'120},
                                    {"cait_s36_384", 68'366'632},
                                    {"cait_m36_384", 271'221'352},
                                    {"cait_m48_448", 356'460'520}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

TEST(Cait, FeaturesAreThePatches) {
  RandomSource source(2);
  const auto model = make_model("cait", kTiny, Weights(source, WeightMode::inference));
  const Features features = model->features({}, Var(random_tensor({2, 3, 16, 8}, 1)));
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 2);
  EXPECT_EQ(features.last().stride, 4);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{2, 8, 8}));
  EXPECT_EQ(features.cls.shape(), (Shape{2, 8}));
}

// Each picture has its own answer; LayerScale of 0 leaves the class token as it starts, for every picture.
TEST(Cait, TheClassTokenAsksThePatches) {
  RandomSource source(3);
  const Var images(random_tensor({2, 3, 16, 16}, 1));
  const auto differ = [&](const std::string& config) {
    const Tensor logits =
        make_model("cait", config, Weights(source, WeightMode::inference))->forward({}, images).value();
    return logits[0] != logits[3];
  };
  EXPECT_TRUE(differ(kTiny));
  EXPECT_FALSE(differ(R"({"img_size":16,"patch_size":4,"dim":8,"heads":4,"depth":2,"num_classes":3,)"
                      R"("layer_scale_init":0.0})"));
}

TEST(Cait, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(make_model("cait", R"({"dim":10,"heads":4})", w), Error);
  EXPECT_THROW(make_model("cait", R"({"img_size":20,"patch_size":16})", w), Error);
  EXPECT_THROW(make_model("cait", R"({"talking_heads":false})", w), Error);
}

}  // namespace cait_test
}  // namespace locant
