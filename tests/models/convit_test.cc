#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace convit_test {

using testing::golden_input;
using testing::random_tensor;
using testing::SineSource;

Values gpsa_input(Tensor x, float height, float width) {
  return {{"input", Var(std::move(x))},
          {"height", Var(Tensor::full({1}, height))},
          {"width", Var(Tensor::full({1}, width))}};
}

// The spec's golden layer on 2 x 2 tokens.
TEST(Convit, GoldenGatedAttention) {
  constexpr double kWant[16] = {0.150414, 0.493926,  0.113069, -0.416344, 0.162741, 0.518021,
                                0.123319, -0.430834, 0.200535, 0.484061,  0.053704, -0.462106,
                                0.199017, 0.456359,  0.029264, -0.457305};
  SineSource source({"gating_param", "qk.weight", "v.weight", "proj.weight", "proj.bias", "pos_proj.weight",
                     "pos_proj.bias"});
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const auto layer = make_model("gpsa", R"({"dim":4,"heads":2})", Weights(source, mode));
    const Tensor out = layer->run({}, gpsa_input(golden_input({1, 4, 4}), 2, 2)).front().value();
    for (std::int64_t x = 0; x < 16; ++x) EXPECT_NEAR(out[x], kWant[x], 2e-6) << x;
  }
}

TEST(Convit, GatedAttentionRefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(make_model("gpsa", R"({"dim":8,"heads":3})", w), Error);
  const auto layer = make_model("gpsa", R"({"dim":8,"heads":2})", w);
  EXPECT_THROW(layer->run({}, gpsa_input(Tensor::zeros({1, 5, 8}), 2, 3)), Error);
  EXPECT_THROW(layer->run({}, gpsa_input(Tensor::zeros({1, 0, 8}), 0, 3)), Error);
  try {
    layer->run({}, {{"input", Var(Tensor::zeros({1, 6, 8}))}});
    FAIL() << "no sides";
  } catch (const Error& error) {
    EXPECT_EQ(error.op(), "gpsa");
    EXPECT_NE(std::string(error.what()).find("the input height (rows of the grid) is missing"),
              std::string::npos)
        << error.what();
  }
}

// The paper's local start: the identity as values, heads that look at one neighbour each, open gates.
TEST(Convit, StartsLocally) {
  RandomSource source(1);
  const auto model = make_model("convit",
                                R"({"img_size":16,"patch_size":4,"dim":8,"heads":4,"depth":2,)"
                                R"("local_up_to_layer":1,"num_classes":3,"locality_strength":2.0})",
                                Weights(source, WeightMode::train));
  int seen = 0;
  for (const Parameter& p : model->parameters()) {
    const Tensor& x = p.value.value();
    if (p.name == "blocks.0.attn.v.weight") {
      for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(x[i], i / 8 == i % 8 ? 1.0f : 0.0f);
      ++seen;
    }
    if (p.name == "blocks.0.attn.gating_param") {
      for (const float gate : x.values()) EXPECT_EQ(gate, 1.0f);
      ++seen;
    }
    if (p.name == "blocks.0.attn.pos_proj.weight") {
      EXPECT_EQ(x[0], -2.0f);
      EXPECT_EQ(x[4], 2.0f);
      EXPECT_EQ(x[5], -2.0f);
      ++seen;
    }
  }
  EXPECT_EQ(seen, 3);
}

TEST(Convit, ParameterCountsOfThePaper) {
  for (const auto& [name, count] :
       {std::pair{"convit_tiny", 5'710'512}, {"convit_small", 27'777'322}, {"convit_base", 86'540'040}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

TEST(Convit, FeaturesAreThePatches) {
  RandomSource source(2);
  const auto model = make_model("convit",
                                R"({"img_size":16,"patch_size":4,"dim":8,"heads":4,"depth":2,)"
                                R"("local_up_to_layer":2,"num_classes":3})",
                                Weights(source, WeightMode::inference));
  const Features features = model->features({}, Var(random_tensor({2, 3, 16, 8}, 1)));
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 2);
  EXPECT_EQ(features.last().stride, 4);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{2, 8, 8}));
  EXPECT_EQ(features.cls.shape(), (Shape{2, 8}));
}

}  // namespace convit_test
}  // namespace locant
