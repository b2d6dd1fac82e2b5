// NAT and DiNAT: counts, pictures of any size, what cannot be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace nat_test {

using testing::random_tensor;
using Json = nlohmann::json;

constexpr const char* kTiny =
    R"({"dim":8,"depths":[2,1],"heads":[2,2],"kernel":3,"mlp_ratio":1.5,"num_classes":3})";

// Values of a size at which a neighbour more is far above a rounding.
class LargeSource final : public WeightSource {
 public:
  Tensor get(const std::string&, const Shape& shape, const Init&) override {
    return random_tensor(shape, ++seed_);
  }

 private:
  std::uint64_t seed_ = 0;
};

std::unique_ptr<Model> made(const std::string& more = "{}") {
  LargeSource source;
  return make_model("nat", merge_config(kTiny, more), Weights(source, WeightMode::train));
}

// Of transformers 5.24's class, with LayerScale where the repository has it; 11 x 11: 738 heads with tables
// of 21 x 21 for 13 x 13.
TEST(Nat, ParameterCountsAreThePublishedOnes) {
  const std::pair<const char*, std::int64_t> counts[] = {{"nat_mini", 19'984'174},
                                                         {"nat_tiny", 27'901'582},
                                                         {"nat_small", 50'743'297},
                                                         {"nat_base", 89'769'652},
                                                         {"dinat_mini", 19'984'174},
                                                         {"dinat_tiny", 27'901'582},
                                                         {"dinat_small", 50'719'681},
                                                         {"dinat_base", 89'769'652},
                                                         {"dinat_large", 200'943'514},
                                                         {"dinat_large_384", 200'943'514},
                                                         {"dinat_large_384_11x11", 201'144'250}};
  for (const auto& [name, want] : counts) {
    const ModelEntry& entry = find_model(name);
    std::int64_t got = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) got += p.shape.numel();
    EXPECT_EQ(got, want) << name;
  }
}

// kernel * dilation places of the far blocks fit the grid of each stage, and one gap more would not.
TEST(Nat, FarBlocksSpanTheGridOfTheirPictures) {
  for (const char* name :
       {"dinat_mini", "dinat_base", "dinat_large", "dinat_large_384", "dinat_large_384_11x11"}) {
    const Json c = Json::parse(
        merge_config(find_family("nat").default_config(find_family("nat")), find_model(name).config));
    std::size_t block = 0;
    for (std::size_t s = 0; s < 4; ++s) {
      const std::int64_t grid = c["img_size"][0].get<std::int64_t>() / (std::int64_t{4} << s),
                         kernel = c["kernel"];
      for (std::int64_t b = 0; b < c["depths"][s].get<std::int64_t>(); ++b, ++block)
        EXPECT_EQ(c["dilations"][block].get<std::int64_t>(), b % 2 == 0 ? 1 : grid / kernel)
            << name << " " << block;
    }
  }
}

// Level by level, down to grids that the window does not fit.
TEST(Nat, FeaturesOfAnySize) {
  for (const char* more : {"{}", R"({"dilations":[1,3,2]})", R"({"layer_scale":true,"qkv_bias":"none"})"}) {
    const auto model = made(more);
    const Features f = model->features({}, Var(random_tensor({2, 3, 41, 18}, 3)));
    ASSERT_EQ(f.levels.size(), 2u);
    EXPECT_EQ(f.levels[0].grid.rows, 11) << more;
    EXPECT_EQ(f.levels[0].tokens.shape(), (Shape{2, 55, 8})) << more;
    EXPECT_EQ(f.last().tokens.shape(), (Shape{2, 18, 16})) << more;
    EXPECT_EQ(f.last().stride, 8) << more;
    EXPECT_EQ(f.cls.shape(), (Shape{2, 16})) << more;
  }
}

// A token answers to its window of 3 x 3 alone: in stage 0 by two blocks, of which the second sees with gaps.
TEST(Nat, SeesNeighboursAlone) {
  const auto model = made(R"({"dilations":[1,2,1]})");
  Tensor images = random_tensor({1, 3, 64, 64}, 3);
  const Tensor before = model->features({}, Var(images)).levels[0].tokens.value();
  for (std::int64_t c = 0; c < 3; ++c) images[(c * 64 + 32) * 64 + 32] += 1.0f;  // in the token (8, 8)
  const Tensor after = model->features({}, Var(images)).levels[0].tokens.value();
  const auto changed = [&](std::int64_t y, std::int64_t x) {
    float most = 0;
    for (std::int64_t c = 0; c < 8; ++c)
      most = std::max(most, std::abs(after[(y * 16 + x) * 8 + c] - before[(y * 16 + x) * 8 + c]));
    return most;
  };
  EXPECT_GT(changed(8, 8), 1e-3f);
  EXPECT_GT(changed(8, 11), 1e-4f);  // one step, then one of two
  EXPECT_EQ(changed(8, 13), 0.0f);
  EXPECT_EQ(changed(0, 0), 0.0f);
}

TEST(Nat, RefusesWhatCannotBe) {
  for (const char* bad :
       {R"({"kernel":4})", R"({"heads":[2]})", R"({"heads":[3,2]})", R"({"dilations":[1,2]})",
        R"({"dilations":[1,0,1]})", R"({"dim":7})", R"({"depths":[]})", R"({"patch_size":8})"})
    EXPECT_THROW(made(bad), Error) << bad;
}

}  // namespace nat_test
}  // namespace locant
