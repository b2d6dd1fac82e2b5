#include <gtest/gtest.h>

#include "core/error.h"
#include "models/registry.h"
#include "models/renames.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace mvitv2_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":[64,96],"in_chans":1,"num_classes":3,"dims":[8,12],"depths":[2,2],"heads":[2,3],)"
    R"("q_strides":[1,2],"kv_strides":[4,2])";

std::unique_ptr<Model> tiny(const std::string& more = "", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model("mvitv2", kTiny + more + "}", Weights(source, mode));
}

Shape shape_of(const Model& model, const std::string& name) {
  for (const Parameter& p : model.parameters())
    if (p.name == name) return p.shape;
  return Shape{0};
}

TEST(Mvitv2, ParameterCountsOfTimm) {
  for (const auto& [name, count] : {std::pair{"mvitv2_tiny", 24'173'320},
                                    {"mvitv2_small", 34'870'216},
                                    {"mvitv2_base", 51'472'744},
                                    {"mvitv2_large", 217'992'952},
                                    {"mvitv2_small_cls", 34'870'312},
                                    {"mvitv2_base_cls", 65'444'032},
                                    {"mvitv2_large_cls", 234'583'216},
                                    {"mvitv2_huge_cls", 694'804'128}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

// Patches at 4, then 8: (64, 96) are sides that tables are made for, (61, 33) leave remainders in both.
TEST(Mvitv2, FeaturesAreTheStages) {
  const auto model = tiny();
  for (const auto& [rows, columns] : {std::pair{64, 96}, {61, 33}}) {
    const Features features = model->features({}, Var(random_tensor({2, 1, rows, columns}, 2)));
    ASSERT_EQ(features.levels.size(), 2u);
    for (std::size_t s = 0; s < 2; ++s) {
      const Features::Level& level = features.levels[s];
      EXPECT_EQ(level.stride, s == 0 ? 4 : 8);
      EXPECT_EQ(level.grid.rows, (rows + level.stride - 1) / level.stride);
      EXPECT_EQ(level.grid.columns, (columns + level.stride - 1) / level.stride);
      EXPECT_EQ(level.tokens.shape(), (Shape{2, level.grid.tokens(), s == 0 ? 8 : 12}));
    }
    EXPECT_EQ(features.cls.shape(), (Shape{2, 12}));
  }
}

// 2 max(queries, keys) - 1 of the grid that comes in, rows and columns by themselves.
TEST(Mvitv2, TablesAreOfTheLongerSide) {
  const auto model = tiny("", WeightMode::train);
  EXPECT_EQ(shape_of(*model, "stages.0.blocks.0.attn.rel_pos_h"), (Shape{31, 4}));
  EXPECT_EQ(shape_of(*model, "stages.0.blocks.0.attn.rel_pos_w"), (Shape{47, 4}));
  EXPECT_EQ(shape_of(*model, "stages.1.blocks.0.attn.rel_pos_h"), (Shape{15, 4}));
  EXPECT_EQ(shape_of(*model, "stages.1.blocks.1.attn.rel_pos_h"), (Shape{15, 4}));
}

TEST(Mvitv2, WidthsGrowWhereTold) {
  const auto attention = tiny("", WeightMode::train);
  EXPECT_EQ(shape_of(*attention, "stages.1.blocks.0.proj.weight"), (Shape{12, 8}));
  EXPECT_EQ(shape_of(*attention, "stages.1.blocks.0.attn.qkv.weight"), (Shape{36, 8}));
  const auto mlp = tiny(R"(,"expand_in":"mlp")", WeightMode::train);
  EXPECT_EQ(shape_of(*mlp, "stages.0.blocks.1.proj.weight"), (Shape{12, 8}));
  EXPECT_EQ(shape_of(*mlp, "stages.0.blocks.1.mlp.fc2.weight"), (Shape{12, 32}));
  EXPECT_EQ(shape_of(*mlp, "stages.1.blocks.0.attn.qkv.weight"), (Shape{36, 12}));
}

TEST(Mvitv2, NamesThatCountOnDependOnTheDepths) {
  const auto called = [](const char* naming, const char* model) {
    ShapeSource shapes;
    const auto built = make_model("mvitv2", find_model(model).config, Weights(shapes, WeightMode::shapes));
    return find_renames("mvitv2", naming, built->config())
        .library_names("stages.2.blocks.0.proj.weight")
        .front();
  };
  EXPECT_EQ(called("facebookresearch/mvit", "mvitv2_tiny"), "blocks.3.proj.weight");
  EXPECT_EQ(called("facebookresearch/mvit", "mvitv2_base"), "blocks.5.proj.weight");
  EXPECT_EQ(called("timm", "mvitv2_base"), "stages.2.blocks.0.shortcut_proj_attn.weight");
  EXPECT_EQ(called("timm", "mvitv2_large"), "stages.2.blocks.0.shortcut_proj_mlp.weight");
}

TEST(Mvitv2, RefusesWhatDoesNotFit) {
  for (const char* more :
       {R"(,"heads":[3,3])", R"(,"kv_strides":[4])", R"(,"prefix_tokens":["dist_token"])", R"(,"pool":"cls")",
        R"(,"pool_kernel":[2,3])", R"(,"absolute_pos":true)", R"(,"patch_stride":[16,64],"q_strides":[2,2])"})
    EXPECT_THROW(tiny(more), Error) << more;
  EXPECT_THROW(tiny()->forward({}, Var(Tensor::zeros({1, 3, 64, 96}))), Error);
}

}  // namespace mvitv2_test
}  // namespace locant
