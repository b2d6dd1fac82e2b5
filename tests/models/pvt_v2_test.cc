#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace pvt_v2_test {

using testing::random_tensor;

constexpr const char* kSmall =
    R"({"in_chans":2,"num_classes":5,"dims":[8,12],"depths":[2,1],"heads":[1,3],"mlp_ratios":[2,1.5],)"
    R"("sr_ratios":[3,1],"patch_kernels":[7,3],"patch_strides":[4,2])";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(3);
  return make_model("pvt_v2", kSmall + more + "}", Weights(source, mode));
}

TEST(PvtV2, ParameterCountsOfTheRelease) {
  for (const auto& [name, count] : {std::pair{"pvt_v2_b0", 3'666'760},
                                    {"pvt_v2_b1", 14'009'000},
                                    {"pvt_v2_b2", 25'362'856},
                                    {"pvt_v2_b2_li", 22'553'512},
                                    {"pvt_v2_b3", 45'238'696},
                                    {"pvt_v2_b4", 62'556'072},
                                    {"pvt_v2_b5", 81'956'008}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// 27 x 21 pictures: grids of 7 x 6 and 4 x 3, of which a reduction by 3 leaves 2 x 2 and means 7 x 7, some of
// the same token.
TEST(PvtV2, InferenceAndTrainingWeightsGiveTheSame) {
  const Var images(random_tensor({2, 2, 27, 21}, 1));
  for (const char* more : {"", R"(,"linear":true)", R"(,"qkv_bias":"none","mlp_kernel":5)"}) {
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 5})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(PvtV2, FeaturesOfEveryStage) {
  const Features features = make_small("")->features({}, Var(random_tensor({1, 2, 27, 21}, 1)));
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{1, 42, 8}));
  EXPECT_EQ(features.levels[0].stride, 4);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 12, 12}));
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 3);
  EXPECT_EQ(features.last().stride, 8);
  EXPECT_EQ(features.cls.shape(), (Shape{1, 12}));
}

TEST(PvtV2, ShapesTellHeadsAndTheLinearVariant) {
  const auto told = [](const char* name) {
    const ModelEntry& entry = find_model(name);
    const Family& family = find_family(entry.family);
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) shapes.emplace(p.name, p.shape);
    return family.from_shapes(family, NamedShapes(family.name, std::move(shapes)), "");
  };
  for (const char* name : {"pvt_v2_b0", "pvt_v2_b2", "pvt_v2_b2_li"})
    EXPECT_NE(told(name).find(R"("heads":[1,2,5,8])"), std::string::npos) << name;
  EXPECT_NE(told("pvt_v2_b2_li").find(R"("linear":true)"), std::string::npos);
  EXPECT_NE(told("pvt_v2_b2").find(R"("linear":false)"), std::string::npos);
}

TEST(PvtV2, RefusesWhatDoesNotFit) {
  const auto error_of = [](const std::string& more) -> std::string {
    try {
      make_small(more);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of(R"(,"heads":[1,5])").find("width 12 does not divide into 5 heads"), std::string::npos);
  EXPECT_NE(error_of(R"(,"depths":[1])").find("depths"), std::string::npos);
  EXPECT_NE(error_of(R"(,"mlp_kernel":4)").find("mlp_kernel 4 must be odd"), std::string::npos);
  EXPECT_NE(error_of(R"(,"patch_pads":[0,1])").find("patch_pads"), std::string::npos);
  EXPECT_NE(error_of(R"(,"mlp_ratios":[0.1,1.0])").find("leaves no channel"), std::string::npos);
  const auto model = make_small("");
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 32, 32}))), Error);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 2, 0, 32}))), Error);
  try {
    model->forward({}, Var(Tensor::zeros({1, 2, 8, 32})));
    FAIL() << "2 x 8 tokens have no keys at a ratio of 3";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("it must be 3 x 3 at least"), std::string::npos) << error.what();
  }
}

}  // namespace pvt_v2_test
}  // namespace locant
