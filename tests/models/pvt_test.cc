#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "ops/rearrange.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace pvt_test {

using testing::random_tensor;

constexpr const char* kSmall =
    R"({"img_size":[32,48],"in_chans":2,"dims":[8,12,10,16],"depths":[1,2,1,1],"heads":[1,3,2,4],)"
    R"("mlp_ratios":[2,1,2,1],"sr_ratios":[4,2,1,1],"num_classes":)";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  RandomSource source(3);
  return make_model("pvt", kSmall + more + "}", Weights(source, mode));
}

TEST(Pvt, ParameterCountsArePublished) {
  const auto count = [](const char* name) {
    std::int64_t out = 0;
    for (const Parameter& p : model_parameters("pvt", find_model(name).config)) out += p.shape.numel();
    return out;
  };
  EXPECT_EQ(count("pvt_tiny"), 13'229'288);
  EXPECT_EQ(count("pvt_small"), 24'485'864);
  EXPECT_EQ(count("pvt_medium"), 44'208'104);
  EXPECT_EQ(count("pvt_large"), 61'369'320);
  // Without class token, last norm and head.
  EXPECT_EQ(count("pvt_tiny_detection"), 13'229'288 - 512 - 2 * 512 - 513 * 1000);
}

// Packed products against the layers one by one, at the model's own size and at others: a remainder is left
// out, and each table is resized.
TEST(Pvt, InferenceAndTrainingWeightsGiveTheSame) {
  for (const auto& [rows, columns] : {std::pair{32, 48}, {67, 45}})
    for (const char* more : {"5", R"(0,"qkv_bias":"none")", R"(0,"output":"maps")"}) {
      const Var images(random_tensor({2, 2, rows, columns}, 1));
      const Values recorded = make_small(more, WeightMode::train)->run({}, {{"images", images}});
      const Values packed = make_small(more)->run({}, {{"images", images}});
      ASSERT_EQ(packed.size(), recorded.size());
      for (const auto& [name, value] : packed)
        testing::expect_close(value.value(), testing::to_double(recorded.at(name).value()), 2e-5, more);
    }
}

TEST(Pvt, FeaturesHaveALevelForEachStage) {
  const Var images(random_tensor({2, 2, 67, 45}, 1));
  for (const char* more : {"5", R"(0,"output":"last_map")"}) {
    const Features f = make_small(more)->features({}, images);
    ASSERT_EQ(f.levels.size(), 4u);
    EXPECT_EQ(f.levels[0].tokens.shape(), (Shape{2, 16 * 11, 8}));
    EXPECT_EQ(f.levels[1].tokens.shape(), (Shape{2, 8 * 5, 12}));
    EXPECT_EQ(f.last().tokens.shape(), (Shape{2, 2, 16}));
    EXPECT_EQ(f.last().grid.rows, 2);
    EXPECT_EQ(f.last().grid.columns, 1);
    EXPECT_EQ(f.levels[1].stride, 8);
    EXPECT_EQ(f.last().stride, 32);
    EXPECT_EQ(f.cls.shape(), (Shape{2, 16}));
  }
}

// A backbone of detectors: the same stages; the first three do not know whether a class token comes.
TEST(Pvt, MapsAreTheTokensOfTheStages) {
  const Var images(random_tensor({1, 2, 64, 32}, 1));
  const Features f = make_small("5")->features({}, images);
  const Values maps = make_small(R"(0,"output":"maps")")->run({}, {{"images", images}});
  ASSERT_EQ(maps.size(), 4u);
  for (std::size_t s = 0; s < 3; ++s) {
    const Features::Level& level = f.levels[s];
    const Var want = tokens_to_images({}, level.tokens, level.grid.rows, level.grid.columns);
    testing::expect_close(maps.at("map" + std::to_string(s + 1)).value(), testing::to_double(want.value()),
                          1e-6, "map");
  }
  const Values last = make_small(R"(0,"output":"last_map")")->run({}, {{"images", images}});
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last.at("map4").shape(), (Shape{1, 16, 2, 1}));
  testing::expect_close(last.front().value(), testing::to_double(maps.at("map4").value()), 1e-6, "last");
}

// The official code looks at the number of stage 1's tokens alone.
TEST(Pvt, StageOneKeepsItsTableForAsManyTokens) {
  const auto grids = [](std::int64_t rows, std::int64_t columns) {
    RandomSource source(3);
    const auto model =
        make_model("pvt",
                   R"({"img_size":[8,32],"patch_sizes":[4],"dims":[8],"depths":[1],"heads":[1],)"
                   R"("mlp_ratios":[2],"sr_ratios":[1],"num_classes":3})",
                   Weights(source, WeightMode::inference));
    struct Table final : Probe {
      void see(const std::string& path, const Var& value) override {
        if (path == "resampled pos_embed") table = value.value();
      }
      Tensor table;
    } probe;
    Context ctx;
    ctx.probe = &probe;
    model->forward(ctx, Var(random_tensor({1, 3, rows, columns}, 1)));
    return probe.table;
  };
  const Tensor own = grids(8, 32), turned = grids(16, 16), larger = grids(16, 32);
  testing::expect_close(turned, testing::to_double(own), 0.0, "as it lies");
  EXPECT_EQ(larger.shape(), (Shape{1, 1 + 4 * 8, 8}));
}

TEST(Pvt, StartsAsTheOfficialCode) {
  const auto model = make_small("5", WeightMode::train);
  for (const Parameter& p : model->parameters()) {
    if (p.name == "block1.0.attn.sr.bias") {
      EXPECT_GT(std::abs(p.value.value()[0]), 0.0f);  // PyTorch's convolution
    }
    if (p.name == "block1.0.attn.q.bias") {
      EXPECT_EQ(p.value.value()[0], 0.0f);
    }
  }
}

TEST(Pvt, RefusesWhatDoesNotFit) {
  const auto error_of = [](const std::string& more) -> std::string {
    try {
      make_small(more);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(error_of(R"(5,"heads":[1,5,2,4])").find("5 heads do not divide a width of 12"),
            std::string::npos);
  EXPECT_NE(error_of(R"(5,"sr_ratios":[4,2,1])").find("3"), std::string::npos);
  EXPECT_NE(error_of(R"(5,"sr_ratios":[4,2,1,2])").find("reduces by 2"), std::string::npos);
  EXPECT_NE(error_of(R"(5,"output":"maps")").find("maps have no head"), std::string::npos);
  EXPECT_NE(error_of(R"(5,"img_size":16)").find("32 x 32 is the least"), std::string::npos);
  EXPECT_NE(error_of(R"(5,"cls_token":[true,false,false,true])").find("cls_token"), std::string::npos);
  const auto model = make_small("5");
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 3, 32, 48}))), Error);
  EXPECT_THROW(model->forward({}, Var(Tensor::zeros({1, 2, 31, 48}))), Error);
}

}  // namespace pvt_test
}  // namespace locant
