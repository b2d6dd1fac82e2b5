#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace cvt_test {

using testing::random_tensor;
using Json = nlohmann::json;

constexpr const char* kSmall =
    R"({"in_chans":2,"num_classes":5,"dims":[8,12],"depths":[1,2],"heads":[1,3],"mlp_ratios":[2,1.5],)"
    R"("patch_kernels":[7,3],"patch_strides":[4,2],"patch_pads":[2,1],"kv_strides":[2,2],)"
    R"("cls_token":[false,true])";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(3);
  return make_model("cvt", kSmall + more + "}", Weights(source, mode));
}

std::int64_t count(const std::string& config) {
  std::int64_t out = 0;
  for (const Parameter& parameter : model_parameters("cvt", config))
    if (parameter.learned) out += parameter.shape.numel();
  return out;
}

TEST(Cvt, ParameterCountsArePublished) {
  EXPECT_EQ(count(find_model("cvt_13").config), 19'997'480);
  EXPECT_EQ(count(find_model("cvt_13_384").config), 19'997'480);
  EXPECT_EQ(count(find_model("cvt_21").config), 31'622'696);
  EXPECT_EQ(count(find_model("cvt_w24").config), 277'196'392);
}

// A stage whose class token goes no further, another form, no norm, no class token.
TEST(Cvt, InferenceAndTrainingWeightsGiveTheSame) {
  for (const char* more :
       {"", R"(,"norm":"channel","head_dim":5,"scale":"head_dim","act":"gelu","last_norm":false)",
        R"(,"projection":"avg","act":"gelu","qkv_bias":"none")"}) {
    const Var images(random_tensor({2, 2, 29, 34}, 1));
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 5})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

// Each picture of a batch is answered as if it were alone.
TEST(Cvt, BatchesAreRowsOfAnswers) {
  const auto model = make_small("");
  const Tensor images = random_tensor({2, 2, 20, 16}, 5);
  const Tensor both = model->forward({}, Var(images)).value();
  const std::int64_t half = images.numel() / 2;
  for (std::int64_t b = 0; b < 2; ++b) {
    Tensor one({1, 2, 20, 16});
    for (std::int64_t i = 0; i < half; ++i) one[i] = images[b * half + i];
    const Tensor alone = model->forward({}, Var(one)).value();
    for (std::int64_t k = 0; k < 5; ++k) EXPECT_NEAR(alone[k], both[5 * b + k], 1e-5);
  }
}

// 29 x 34: (29 + 4 - 7) / 4 + 1 = 7 rows, then (7 + 2 - 3) / 2 + 1 = 4.
TEST(Cvt, FeaturesOfAnySize) {
  const Features features = make_small("")->features({}, Var(random_tensor({1, 2, 29, 34}, 1)));
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{1, 7 * 8, 8}));
  EXPECT_EQ(features.levels[0].stride, 4);
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 4);
  EXPECT_EQ(features.last().stride, 8);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 16, 12}));
  EXPECT_EQ(features.cls.shape(), (Shape{1, 12}));
}

// The head reads the class token alone: what forward leaves out changes nothing.
TEST(Cvt, HeadReadsTheFeatures) {
  for (const char* more : {R"(,"num_classes":0)", R"(,"num_classes":0,"cls_token":[true,false])"}) {
    Json config = Json::parse(std::string(kSmall) + "}");
    config.update(Json::parse("{" + std::string(more).substr(1) + "}"));
    RandomSource source(3);
    const auto model = make_model("cvt", config.dump(), Weights(source, WeightMode::inference));
    const Var images(random_tensor({2, 2, 24, 24}, 2));
    testing::expect_close(model->forward({}, images).value(),
                          testing::to_double(model->features({}, images).cls.value()), 1e-6, more);
  }
}

TEST(Cvt, RefusesWhatCannotBe) {
  for (const char* more :
       {R"(,"heads":[3,3])", R"(,"depths":[1])", R"(,"qkv_kernel":4)", R"(,"q_strides":[2,1])",
        R"(,"qkv_pad":0)", R"(,"pool":"mean")", R"(,"norm":"batch")"}) {
    Json config = Json::parse(std::string(kSmall) + "}");
    config.update(Json::parse("{" + std::string(more).substr(1) + "}"));
    EXPECT_THROW(model_parameters("cvt", config.dump()), Error) << more;
  }
  EXPECT_THROW(make_small("")->forward({}, Var(random_tensor({1, 3, 32, 32}, 1))), Error);
  EXPECT_THROW(make_small("")->forward({}, Var(random_tensor({1, 2, 32, 2}, 1))), Error);
}

// What no shape tells stays as told; else heads are 64 wide.
TEST(Cvt, ShapesTellTheRest) {
  const Family& family = find_family("cvt");
  const auto told = [&](const std::string& config, const std::string& by) {
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("cvt", config)) shapes.emplace(p.name, p.shape);
    return Json::parse(family.from_shapes(family, NamedShapes("cvt", shapes), by));
  };
  const std::string small = std::string(kSmall) + R"(,"qkv_kernel":5,"projection":"dw_bn"})";
  EXPECT_EQ(told(small, small)["heads"], (std::vector<int>{1, 3}));
  EXPECT_EQ(told(small, small)["qkv_kernel"], 5);
  EXPECT_EQ(told(find_model("cvt_21").config, "")["heads"], (std::vector<int>{1, 3, 6}));
  EXPECT_EQ(told(find_model("cvt_21").config, "")["patch_pads"], (std::vector<int>{2, 1, 1}));
  // vit-pytorch's: heads of 64 beside a width of 32.
  const Json channel =
      told(R"({"dims":[32,64,96],"heads":[1,2,3],"head_dim":64,"norm":"channel","scale":"head_dim",)"
           R"("last_norm":false,"cls_token":[false,false,false],"depths":[1,1,1]})",
           "");
  EXPECT_EQ(channel["heads"], (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(channel["head_dim"], 64);
  EXPECT_EQ(channel["norm"], "channel");
  EXPECT_EQ(channel["patch_pads"], (std::vector<int>{3, 1, 1}));
  EXPECT_THROW(told(R"({"dims":[66,66,66],"heads":[2,2,2]})", ""), Error);  // two heads or more: must be told
}

}  // namespace cvt_test
}  // namespace locant
