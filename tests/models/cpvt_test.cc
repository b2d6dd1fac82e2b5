#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace cpvt_test {

using testing::random_tensor;

constexpr const char* kSmall =
    R"({"img_size":16,"patch_size":4,"dim":8,"heads":2,"depth":4,"num_classes":3,"mlp_ratio":1.5)";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(2);
  return make_model("cpvt", kSmall + more + "}", Weights(source, mode));
}

// DeiT's without the position table, and 10 numbers a channel for PEG.
TEST(Cpvt, ParameterCounts) {
  for (const auto& [name, count] : {std::pair{"cpvt_tiny", 5'717'416 - 197 * 192 + 10 * 192},
                                    {"cpvt_small", 22'050'664 - 197 * 384 + 10 * 384},
                                    {"cpvt_base", 86'567'656 - 197 * 768 + 10 * 768},
                                    {"cpvt_tiny_gap", 5'717'416 - 198 * 192 + 10 * 192},
                                    {"cpvt_small_gap", 22'050'664 - 198 * 384 + 10 * 384},
                                    {"cpvt_base_gap", 86'567'656 - 198 * 768 + 10 * 768}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

TEST(Cpvt, InferenceAndTrainingWeightsGiveTheSame) {
  const Var images(random_tensor({2, 3, 12, 20}, 1));
  for (const char* more : {"", R"(,"pool":"mean")", R"(,"pegs":3,"peg_after_block":1,"peg_kernel":5)"}) {
    const Var recorded = make_small(more, WeightMode::train)->forward({}, images);
    const Var packed = make_small(more)->forward({}, images);
    EXPECT_EQ(packed.shape(), (Shape{2, 3})) << more;
    testing::expect_close(packed.value(), testing::to_double(recorded.value()), 2e-5, more);
  }
}

TEST(Cpvt, FeaturesOfAnySize) {
  const Var images(random_tensor({1, 3, 12, 20}, 1));
  const Features cls = make_small("")->features({}, images);
  EXPECT_EQ(cls.last().tokens.shape(), (Shape{1, 15, 8}));
  EXPECT_EQ(cls.last().grid.columns, 5);
  EXPECT_EQ(cls.attention.shape(), (Shape{1, 2, 15}));
  const Features mean = make_small(R"(,"pool":"mean")")->features({}, images);
  EXPECT_FALSE(mean.attention.defined());
  const Tensor& tokens = mean.last().tokens.value();
  double sum = 0.0;
  for (std::int64_t n = 0; n < 15; ++n) sum += tokens[n * 8 + 3];
  EXPECT_NEAR(mean.cls.value()[3], sum / 15, 1e-5);
}

TEST(Cpvt, ShapesTellPegsAndPool) {
  const Family& family = find_family("cpvt");
  const auto told = [&](const std::string& more) {
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("cpvt", kSmall + more + "}")) shapes.emplace(p.name, p.shape);
    return family.from_shapes(family, NamedShapes("cpvt", shapes), R"({"heads":2})");
  };
  const std::string mean = told(R"(,"pool":"mean")"), two = told(R"(,"pegs":2,"peg_kernel":5)");
  EXPECT_NE(mean.find(R"("pool":"mean","pegs":1,"peg_after_block":0,"peg_kernel":3)"), std::string::npos)
      << mean;
  EXPECT_NE(two.find(R"("pool":"cls","pegs":2,"peg_after_block":0,"peg_kernel":5)"), std::string::npos)
      << two;
}

TEST(Cpvt, RefusesWhatDoesNotFit) {
  const auto error_of = [](const std::string& more) -> std::string {
    try {
      make_small(more);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of(R"(,"peg_kernel":4)").find("peg_kernel 4 must be odd"), std::string::npos);
  EXPECT_NE(error_of(R"(,"pegs":2,"peg_after_block":3)").find("peg_after_block"), std::string::npos);
  EXPECT_NE(error_of(R"(,"pool":"mean","prefix_tokens":["cls_token"])").find("prefix_tokens"),
            std::string::npos);
  EXPECT_NE(error_of(R"(,"pos_embed":"learned")").find("pos_embed"), std::string::npos);
  EXPECT_THROW(make_small("")->forward({}, Var(Tensor::zeros({1, 3, 13, 20}))), Error);
}

}  // namespace cpvt_test
}  // namespace locant
