#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/models/resnet_reference.h"

namespace locant {
namespace botnet_test {

using testing::random_tensor;
using Json = nlohmann::json;

// Maps of 8 x 12, of which the second stage's first block makes 4 x 6.
constexpr const char* kSmall =
    R"({"img_size":[32,48],"in_chans":2,"num_classes":5,"stem_chans":[4,6],"dims":[16,24],"depths":[2,2],)"
    R"("strides":[1,2],"widths":[8,12],"attention_blocks":[[0,1],[1,0],[1,1]],"heads":[2,4,3],)"
    R"("head_dims":[4,3,5]})";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  return testing::make_resnet("botnet", kSmall, more, mode);
}

TEST(Botnet, ParameterCountsOfTimm) {
  for (const auto& [name, want] : {std::pair{"botnet26t_256", 12'488'672},
                                   {"botnet50ts_256", 22'742'688},
                                   {"eca_botnext26ts_256", 10'593'301},
                                   {"sebotnet33ts_256", 13'701'984}}) {
    const ModelEntry& entry = find_model(name);
    EXPECT_EQ(testing::learnable(model_parameters(entry.family, entry.config)), want) << name;
  }
}

// Norms are folded, products packed.
TEST(Botnet, InferenceAndTrainingWeightsGiveTheSame) {
  for (const char* more : {"{}", R"({"act":"silu","gate":"squeeze_excite","num_features":20})",
                           R"({"group_size":4,"gate":"eca","stem_pool":"none","scale_pos_embed":true})"}) {
    const Var images(random_tensor({2, 2, 32, 48}, 1));
    const Tensor recorded = make_small(more, WeightMode::train)->forward({}, images).value();
    const Tensor packed = make_small(more)->forward({}, images).value();
    EXPECT_EQ(packed.shape(), (Shape{2, 5})) << more;
    testing::expect_close(packed, testing::to_double(recorded), 2e-5, more);
  }
}

TEST(Botnet, FeaturesOfEveryStage) {
  const Features features =
      make_small(R"({"num_features":20})")->features({}, Var(random_tensor({1, 2, 32, 48}, 1)));
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{1, 96, 16}));
  EXPECT_EQ(features.levels[0].stride, 4);
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 6);
  EXPECT_EQ(features.last().stride, 8);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{1, 24, 20}));
  EXPECT_EQ(features.cls.shape(), (Shape{1, 20}));
}

TEST(Botnet, RefusesWhatCannotBe) {
  for (const char* more : {R"({"heads":[3,4,3]})", R"({"heads":[2]})", R"({"img_size":[36,48]})",
                           R"({"img_size":[32768,32]})", R"({"attention_blocks":[[0,1],[1,0],[1,2]]})",
                           R"({"attention_strides":[1,1,1]})", R"({"group_size":3})", R"({"stem_kernel":4})",
                           R"({"stem_chans":[]})", R"({"strides":[1,3]})", R"({"attention":"halo"})"})
    EXPECT_THROW(make_small(more), Error) << more;
  const auto model = make_small("{}");
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 3, 32, 48}, 1))), Error);
  EXPECT_THROW(model->forward({}, Var(random_tensor({1, 2, 48, 32}, 1))), Error);
}

// timm: convolutions by their outputs, projections and tables by their inputs, a block's last norm at zero.
TEST(Botnet, StartsAsTimms) {
  RandomSource source(3);
  Json config = Json::parse(kSmall);
  config.update(Json::parse(R"({"dims":[256,256],"widths":[64,64],"heads":[4,4,4],"head_dims":[64,64,64]})"));
  const auto model = make_model("botnet", config.dump(), Weights(source, WeightMode::train));
  const std::map<std::string, double> want = {{"stages.0.0.conv2_kxk.conv.weight", std::sqrt(2.0 / (9 * 64))},
                                              {"stages.0.0.conv3_1x1.conv.weight", std::sqrt(2.0 / 256)},
                                              {"stages.0.0.conv3_1x1.bn.weight", 0.0},
                                              {"stages.1.1.conv3_1x1.bn.weight", 0.0},
                                              {"stages.0.1.self_attn.qkv.weight", 1.0 / 8},
                                              {"stages.0.1.self_attn.pos_embed.width_rel", 1.0 / 8},
                                              {"head.fc.weight", 0.01}};
  std::size_t seen = 0;
  for (const Parameter& p : model->parameters()) {
    if (want.count(p.name) == 0) continue;
    double square = 0.0;
    for (const float x : p.value.value().values()) square += static_cast<double>(x) * static_cast<double>(x);
    const double std = std::sqrt(square / static_cast<double>(p.shape.numel()));
    EXPECT_NEAR(std, want.at(p.name), 0.06 * want.at(p.name)) << p.name;
    ++seen;
  }
  EXPECT_EQ(seen, want.size());
}

TEST(Botnet, ShapesTellTheRest) {
  const Family& family = find_family("botnet");
  std::map<std::string, Shape> shapes;
  for (const Parameter& p : model_parameters("botnet", kSmall)) shapes.emplace(p.name, p.shape);
  const auto told = [&](const std::string& by) {
    return Json::parse(family.from_shapes(family, NamedShapes("botnet", shapes), by));
  };
  const Json bare = told(""), all = told(kSmall);
  for (const char* key :
       {"img_size", "dims", "depths", "strides", "widths", "attention_blocks", "heads", "head_dims"})
    EXPECT_EQ(bare[key], all[key]) << key;
  // 31 rows of pixels make the same maps.
  EXPECT_EQ(told(R"({"img_size":[31,48]})")["img_size"], (Json{31, 48}));
  EXPECT_EQ(told(R"({"img_size":[64,64]})")["img_size"], (Json{32, 48}));
}

}  // namespace botnet_test
}  // namespace locant
