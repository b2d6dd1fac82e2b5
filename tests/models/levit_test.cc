#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "models/renames.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace levit_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":[32,48],"in_chans":1,"num_classes":3,"stem_chans":[2,4,8],"dims":[8,12],"depths":[1,2],)"
    R"("heads":[2,3],"down_heads":[2],"key_dim":4})";

std::int64_t count(const std::string& name) {
  const ModelEntry& entry = find_model(name);
  std::int64_t numbers = 0;
  for (const Parameter& p : model_parameters(entry.family, entry.config))
    if (p.learned) numbers += p.shape.numel();
  return numbers;
}

TEST(Levit, ParameterCountsOfTheRepository) {
  for (const auto& [name, numbers] : {std::pair{"levit_128s", 7'777'058},
                                      {"levit_128", 9'213'936},
                                      {"levit_192", 10'947'069},
                                      {"levit_256", 18'893'876},
                                      {"levit_384", 39'128'836},
                                      {"levit_384_s8", 39'118'960},
                                      {"levit_512_s8", 74'046'696},
                                      {"levit_512", 95'173'700},
                                      {"levit_256d", 26'210'788},
                                      {"levit_512d", 92'497'538},
                                      {"levit_conv_128s", 7'777'058}})
    EXPECT_EQ(count(name), numbers) << name;
}

// Grids 4 x 6 and 2 x 3 of the biases' own size; 5 x 3 and 3 x 2 of a picture whose sides are no multiples.
TEST(Levit, FeaturesAreTheStages) {
  RandomSource source(1);
  const auto model = make_model("levit", kTiny, Weights(source, WeightMode::inference));
  for (const auto& [rows, columns] : {std::pair{32, 48}, {37, 20}}) {
    const Features features = model->features({}, Var(random_tensor({2, 1, rows, columns}, 2)));
    ASSERT_EQ(features.levels.size(), 2u);
    for (std::size_t s = 0; s < 2; ++s) {
      const Features::Level& level = features.levels[s];
      EXPECT_EQ(level.stride, s == 0 ? 8 : 16);
      EXPECT_EQ(level.grid.rows, (rows + level.stride - 1) / level.stride);
      EXPECT_EQ(level.grid.columns, (columns + level.stride - 1) / level.stride);
      EXPECT_EQ(level.tokens.shape(), (Shape{2, level.grid.tokens(), s == 0 ? 8 : 12}));
    }
    EXPECT_EQ(features.cls.shape(), (Shape{2, 12}));
  }
}

/// Numbers everywhere, statistics too: a random start has batch norms that do nothing.
class Everywhere final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    const bool variance = name.find("running_var") != std::string::npos;
    Tensor out = RandomSource(7).get(name, shape, Init::normal(0.3f));
    for (float& x : out.values()) x = variance ? 0.5f + x * x : x;
    return out;
  }
};

// Folded, and split by head, for inference.
TEST(Levit, InferenceFoldsTheNorms) {
  Everywhere source;
  const auto plain = make_model("levit", kTiny, Weights(source, WeightMode::train));
  const auto folded = make_model("levit", kTiny, Weights(source, WeightMode::inference));
  const Var images(random_tensor({2, 1, 32, 48}, 3));
  const Tensor want = plain->forward({}, images).value(), got = folded->forward({}, images).value();
  testing::expect_close(got, testing::to_double(want), 1e-5, "logits");
}

// A block starts as nothing where it has a residual.
TEST(Levit, BlocksStartAsNothing) {
  RandomSource source(1);
  const auto model = make_model("levit", kTiny, Weights(source, WeightMode::train));
  int zeros = 0;
  for (const Parameter& p : model->parameters())
    if (p.shape.rank() == 1 && p.name.ends_with("bn.weight")) zeros += p.value.value()[0] == 0.0f ? 1 : 0;
  EXPECT_EQ(zeros, 2 * 3 + 1);  // attention and MLP of three blocks, the downsampling's MLP
}

TEST(Levit, NamesThatCountOnDependOnTheDepths) {
  const std::string name = "stages.1.blocks.0.attn.proj.c.weight";
  const auto called = [&](const char* naming, const char* model) {
    const auto built = make_model("levit", find_model(model).config, [] {
      static ShapeSource shapes;
      return Weights(shapes, WeightMode::shapes);
    }());
    return find_renames("levit", naming, built->config()).library_names(name).front();
  };
  EXPECT_EQ(called("facebookresearch/LeViT", "levit_128s"), "blocks.6.m.proj.1.c.weight");
  EXPECT_EQ(called("facebookresearch/LeViT", "levit_192"), "blocks.10.m.proj.1.c.weight");
  EXPECT_EQ(called("transformers", "levit_192"), "encoder.stages.1.layers.0.module.projection.linear.weight");
  EXPECT_THROW(find_renames("levit", "transformers", R"({"depths":[9,9,9]})"), Error);
}

TEST(Levit, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(make_model("levit", R"({"stem_chans":[16,32]})", w), Error);
  EXPECT_THROW(make_model("levit", R"({"img_size":[224,230]})", w), Error);
  EXPECT_THROW(make_model("levit", R"({"down_heads":[8]})", w), Error);
  const auto model = make_model("levit", kTiny, w);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 32, 48}))), Error);
}

}  // namespace levit_test
}  // namespace locant
