#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/family.h"
#include "models/registry.h"
#include "tests/models/resnet_reference.h"

namespace locant {
namespace halonet_test {

using testing::random_tensor;
using Json = nlohmann::json;

constexpr const char* kSmall =
    R"({"img_size":[32,48],"in_chans":2,"num_classes":5,"stem_chans":[4,6],"dims":[16,24],"depths":[2,2],)"
    R"("strides":[1,2],"widths":[8,12],"attention_blocks":[[0,1],[1,0],[1,1]],"heads":[2,4,3],)"
    R"("head_dims":[4,3,5],"block_size":4,"halo":1})";

std::unique_ptr<Model> make_small(const std::string& more, WeightMode mode = WeightMode::inference) {
  return testing::make_resnet("halonet", kSmall, more, mode);
}

TEST(Halonet, ParameterCountsOfTimm) {
  for (const auto& [name, want] : {std::pair{"halonet26t", 12'480'288},
                                   {"halonet50ts", 22'733'280},
                                   {"eca_halonext26ts", 10'756'885},
                                   {"sehalonet33ts", 13'691'712}}) {
    const ModelEntry& entry = find_model(name);
    EXPECT_EQ(testing::learnable(model_parameters(entry.family, entry.config)), want) << name;
  }
}

// Maps of 8 x 12 and 4 x 6 hold blocks of 4 or not; of 5 x 6 and 3 x 3 neither.
TEST(Halonet, InferenceAndTrainingWeightsGiveTheSameAtEverySize) {
  for (const auto& [rows, columns] : {std::pair{32, 48}, {20, 23}}) {
    const Var images(random_tensor({2, 2, rows, columns}, 1));
    const Tensor recorded = make_small("{}", WeightMode::train)->forward({}, images).value();
    const auto model = make_small("{}");
    testing::expect_close(model->forward({}, images).value(), testing::to_double(recorded), 2e-5, "logits");
    const Features features = model->features({}, images);
    ASSERT_EQ(features.levels.size(), 2u);
    EXPECT_EQ(features.last().grid.rows, (rows + 7) / 8);
    EXPECT_EQ(features.last().grid.columns, (columns + 7) / 8);
    EXPECT_EQ(features.last().tokens.dim(2), 24);
  }
}

// A picture's map of 4 x 4 is one block: another halo shows it more zeros, and no place beyond is seen.
TEST(Halonet, BlocksSeeTheirHaloOnly) {
  const auto model = make_small(R"({"attention_blocks":[[0,1]],"heads":[2],"head_dims":[4],"depths":[2,1]})");
  Tensor picture = random_tensor({1, 2, 16, 80}, 1);
  const auto level = [&] { return model->features({}, Var(picture)).levels[0].tokens.value(); };
  const Tensor before = level();
  picture.values()[79] += 1.0f;  // the last column of 20 places
  const Tensor after = level();
  int changed = 0, farthest = 20;
  for (std::int64_t i = 0; i < before.numel(); ++i)
    if (before[i] != after[i]) {
      ++changed;
      farthest = std::min(farthest, static_cast<int>(i / 16 % 20));
    }
  EXPECT_GT(changed, 0);
  EXPECT_EQ(farthest,
            16);  // blocks begin at 12 and 16: 12's halo ends at 16, which the convolutions do not reach
}

TEST(Halonet, RefusesWhatCannotBe) {
  for (const char* more : {R"({"heads":[3,4,3]})", R"({"head_dims":[4]})", R"({"block_size":3})",
                           R"({"window":[8,8]})", R"({"attention_pool":"avg2_after"})"})
    EXPECT_THROW(make_small(more), Error) << more;
  EXPECT_NO_THROW(make_small(R"({"window":[6,6]})"));
}

TEST(Halonet, ShapesTellTheRest) {
  const Family& family = find_family("halonet");
  std::map<std::string, Shape> shapes;
  for (const Parameter& p : model_parameters("halonet", kSmall)) shapes.emplace(p.name, p.shape);
  const auto told = [&](const std::string& by) {
    return Json::parse(family.from_shapes(family, NamedShapes("halonet", shapes), by));
  };
  const Json bare = told(R"({"block_size":4})"), all = told(kSmall);
  for (const char* key :
       {"dims", "depths", "strides", "widths", "attention_blocks", "heads", "head_dims", "halo"})
    EXPECT_EQ(bare[key], all[key]) << key;
  EXPECT_EQ(bare["block_size"], 4);
}

}  // namespace halonet_test
}  // namespace locant
