#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "position/sincos.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace simple_vit_test {

using testing::random_tensor;

constexpr const char* kSmall =
    R"({"img_size":[16,24],"patch_size":[8,4],"in_chans":2,"num_classes":5,"dim":16,"depth":2,"heads":2,"head_dim":6,"mlp_dim":20)";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode) {
  RandomSource source(3);
  return make_model("simple_vit", kSmall + more + "}", Weights(source, mode));
}

TEST(SimpleVit, ParameterCountIsThePublishedOne) {
  const ModelEntry& entry = find_model("simple_vit_small_patch16_224");
  std::int64_t count = 0;
  for (const Parameter& parameter : model_parameters(entry.family, entry.config))
    count += parameter.shape.numel();
  EXPECT_EQ(count, 21958504);
}

TEST(SimpleVit, InferenceAndTrainingWeightsGiveTheSameLogits) {
  for (const char* more : {"", R"(,"patch_norm":false)", R"(,"patch_order":"channel_row_column")"}) {
    const Var images(random_tensor({2, 2, 16, 24}, 1));
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more, WeightMode::inference)->forward({}, images);
    ASSERT_EQ(packed.shape(), (Shape{2, 5}));
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(SimpleVit, AnyMultipleOfThePatchRuns) {
  const auto model = make_small("", WeightMode::inference);
  const Features features = model->features({}, Var(random_tensor({1, 2, 40, 12}, 1)));
  EXPECT_EQ(features.last().grid.rows, 5);
  EXPECT_EQ(features.last().grid.columns, 3);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 15, 16}));
  EXPECT_EQ(features.cls.shape(), (Shape{1, 16}));
  EXPECT_FALSE(features.attention.defined());
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 2, 41, 12}))), Error);
}

TEST(SimpleVit, EveryParameterGetsAGradient) {
  const auto model = make_small("", WeightMode::train);
  Tape tape;
  const Var logits = model->forward({&tape}, Var(random_tensor({2, 2, 16, 24}, 2)));
  tape.backward({{logits, random_tensor(logits.shape(), 4)}});
  for (const Parameter& parameter : model->parameters())
    EXPECT_TRUE(parameter.value.grad().defined()) << parameter.name;
}

TEST(SimpleVit, ConfigurationRebuildsTheModel) {
  const auto model = make_small(R"(,"temperature":50.5)", WeightMode::inference);
  RandomSource source(3);
  const auto again = make_model("simple_vit", model->config(), Weights(source, WeightMode::inference));
  const Var images(random_tensor({1, 2, 16, 24}, 1));
  EXPECT_EQ(testing::to_double(again->forward({}, images).value()),
            testing::to_double(model->forward({}, images).value()));
}

TEST(SimpleVit, WrongConfigurationsAreErrors) {
  for (const char* more : {R"(,"dim":18)", R"(,"dim":4)", R"(,"patch_order":"row")", R"(,"qkv_bias":"full")",
                           R"(,"heads":0)", R"(,"temperature":0)", R"(,"mlp_ratio":4)", R"(,"pool":"cls")"})
    EXPECT_THROW(make_small(more, WeightMode::shapes), Error) << more;
}

}  // namespace simple_vit_test
}  // namespace locant
