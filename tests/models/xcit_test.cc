#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace xcit_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":32,"patch_size":8,"in_chans":1,"dim":8,"heads":2,"depth":2,"class_depth":1,"num_classes":3,)"
    R"("mlp_ratio":1.5)";

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

std::unique_ptr<Model> tiny(const std::string& more = "", WeightMode mode = WeightMode::inference) {
  Everywhere source;
  return make_model("xcit", kTiny + more + "}", Weights(source, mode));
}

TEST(Xcit, ParameterCountsOfTimm) {
  for (const auto& [name, p16, p8] : {std::tuple{"nano_12", 3'053'224, 3'049'016},
                                      {"tiny_12", 6'716'272, 6'706'504},
                                      {"tiny_24", 12'116'896, 12'107'128},
                                      {"small_12", 26'253'304, 26'213'032},
                                      {"small_24", 47'671'384, 47'631'112},
                                      {"medium_24", 84'395'752, 84'323'624},
                                      {"large_24", 189'096'136, 188'932'648}})
    for (const auto& [patch, count] : {std::pair{16, p16}, {8, p8}}) {
      const ModelEntry& entry = find_model(fmt::format("xcit_{}_p{}_224", name, patch));
      std::int64_t numbers = 0;
      for (const Parameter& p : model_parameters(entry.family, entry.config))
        if (p.learned) numbers += p.shape.numel();
      EXPECT_EQ(numbers, count) << entry.name;
    }
}

// (32, 16) are whole patches; (30, 17) are not, and the convolutions round up.
TEST(Xcit, FeaturesAreThePatches) {
  const auto model = tiny();
  for (const auto& [rows, columns] : {std::pair{32, 16}, {30, 17}}) {
    const Features features = model->features({}, Var(random_tensor({2, 1, rows, columns}, 1)));
    EXPECT_EQ(features.last().grid.rows, 4);
    EXPECT_EQ(features.last().grid.columns, (columns + 7) / 8);
    EXPECT_EQ(features.last().stride, 8);
    EXPECT_EQ(features.last().tokens.shape(), (Shape{2, features.last().grid.tokens(), 8}));
    EXPECT_EQ(features.cls.shape(), (Shape{2, 8}));
  }
}

TEST(Xcit, InferenceFoldsTheStemsNorms) {
  const Var images(random_tensor({2, 1, 32, 24}, 3));
  const Tensor want = tiny("", WeightMode::train)->forward({}, images).value(),
               got = tiny()->forward({}, images).value();
  testing::expect_close(got, testing::to_double(want), 1e-5, "logits");
}

// Which tokens the class blocks norm changes answers and no tensor.
TEST(Xcit, TokensNormIsTold) {
  const Var images(random_tensor({1, 1, 32, 32}, 3));
  const Tensor alone = tiny(R"(,"class_depth":2)")->forward({}, images).value(),
               all = tiny(R"(,"class_depth":2,"tokens_norm":true)")->forward({}, images).value();
  float most = 0.0f;
  for (std::int64_t i = 0; i < all.numel(); ++i) most = std::max(most, std::abs(all[i] - alone[i]));
  EXPECT_GT(most, 1e-3f);
}

TEST(Xcit, RefusesWhatDoesNotFit) {
  for (const char* more : {R"(,"heads":3)", R"(,"patch_size":4)", R"(,"patch_size":[8,16])", R"(,"dim":6)",
                           R"(,"pos_embed":"learned")", R"(,"patch_embed":"conv3_stride2_x4")"})
    EXPECT_THROW(tiny(more), Error) << more;
  EXPECT_THROW(tiny()->forward({}, Var(Tensor::zeros({1, 3, 32, 32}))), Error);
}

}  // namespace xcit_test
}  // namespace locant
