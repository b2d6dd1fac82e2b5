#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace tiny_vit_test {

using testing::random_tensor;

constexpr const char* kSmall =
    R"({"in_chans":2,"num_classes":5,"dims":[8,12,16],"depths":[1,2,1],"heads":[1,2,4],"windows":[3,3,2],)"
    R"("downsample_strides":[2,1])";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode) {
  RandomSource source(3);
  return make_model("tiny_vit", kSmall + more + "}", Weights(source, mode));
}

// Folded batch norms and packed products against the layers one by one; 36 x 28 pictures pad every window.
TEST(TinyVit, InferenceAndTrainingWeightsGiveTheSame) {
  for (const char* more : {"", R"(,"neck_chans":6,"num_classes":0)"}) {
    const Var images(random_tensor({2, 2, 36, 28}, 1));
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more, WeightMode::inference)->forward({}, images);
    EXPECT_EQ(packed.shape(), *more == 0 ? (Shape{2, 5}) : (Shape{2, 6, 5, 4})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(TinyVit, FeaturesOfAnySize) {
  const auto model = make_small("", WeightMode::inference);
  const Features features = model->features({}, Var(random_tensor({1, 2, 33, 17}, 1)));
  EXPECT_EQ(features.last().grid.rows, 5);
  EXPECT_EQ(features.last().grid.columns, 3);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 15, 16}));
  EXPECT_EQ(features.cls.shape(), (Shape{1, 16}));
}

// Trainable numbers, and with the neck MobileSAM's encoder, whose file also has a head that nobody reads.
TEST(TinyVit, ParameterCountsArePublished) {
  const auto count = [](const std::string& config) {
    std::int64_t out = 0;
    for (const Parameter& parameter : model_parameters("tiny_vit", config))
      if (parameter.learned) out += parameter.shape.numel();
    return out;
  };
  EXPECT_EQ(count(find_model("tiny_vit_5m_224").config), 5'392'764);
  EXPECT_EQ(count(find_model("tiny_vit_11m_224").config), 10'996'972);
  EXPECT_EQ(count(find_model("tiny_vit_21m_224").config), 21'198'568);
  EXPECT_EQ(count(find_model("tiny_vit_21m_384").config), 21'230'488);
  EXPECT_EQ(count(find_model("tiny_vit_21m_512").config), 21'268'120);
  EXPECT_EQ(count(R"({"downsample_strides":[2,2,1],"neck_chans":256,"unused_head":1000,"num_classes":0})"),
            6'065'532);
}

TEST(TinyVit, RefusesWhatDoesNotFit) {
  const auto error_of = [](const std::string& more) -> std::string {
    try {
      make_small(more, WeightMode::inference);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of(R"(,"mlp_ratio":0.0)").find("mlp_ratio is 0"), std::string::npos);
  EXPECT_NE(error_of(R"(,"local_conv_kernel":4)").find("local_conv_kernel 4"), std::string::npos);
  EXPECT_NE(error_of(R"(,"head_dim":7)").find("2 heads of width 7"), std::string::npos);
  EXPECT_NE(error_of(R"(,"pool":"none")").find("pool is \"none\""), std::string::npos);
  EXPECT_THROW(make_model("tiny_vit", R"({"dims":[8]})",
                          [] {
                            static ShapeSource source;
                            return Weights(source, WeightMode::shapes);
                          }()),
               Error);
  const auto model = make_small("", WeightMode::inference);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 32, 32}))), Error);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 2, 0, 32}))), Error);
}

}  // namespace tiny_vit_test
}  // namespace locant
