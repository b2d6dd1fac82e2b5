#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace vit_relpos_test {

using testing::random_tensor;

constexpr const char* kTiny =
    R"({"img_size":16,"patch_size":4,"dim":8,"heads":2,"depth":2,"num_classes":3,"rel_mlp_hidden":6})";

std::unique_ptr<Model> made(const std::string& more = "{}", WeightMode mode = WeightMode::inference) {
  RandomSource source(1);
  return make_model("vit_relpos", merge_config(kTiny, more), Weights(source, mode));
}

// timm 1.0.31's.
TEST(VitRelpos, ParameterCountsAreTimms) {
  const std::pair<const char*, std::int64_t> counts[] = {
      {"vit_relpos_small_patch16_224", 21'983'920},
      {"vit_relpos_medium_patch16_224", 38'747'208},
      {"vit_relpos_base_patch16_224", 86'429'560},
      {"vit_relpos_medium_patch16_cls_224", 38'764'616},
      {"vit_relpos_base_patch16_cls_224", 86'430'328},
      {"vit_relpos_base_patch16_clsgap_224", 86'430'328},
      {"vit_relpos_small_patch16_rpn_224", 21'974'704},
      {"vit_relpos_medium_patch16_rpn_224", 38'734'920},
      {"vit_relpos_base_patch16_rpn_224", 86'411'128},
      {"vit_srelpos_small_patch16_224", 21'973'486},
      {"vit_srelpos_medium_patch16_224", 38'735'856},
      {"vit_relpos_base_patch16_plus_240", 117'380'880},
      {"vit_relpos_base_patch32_plus_rpn_256", 119'423'760}};
  for (const auto& [name, want] : counts) {
    const ModelEntry& entry = find_model(name);
    std::int64_t got = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) got += p.shape.numel();
    EXPECT_EQ(got, want) << name;
  }
}

// The MLP is asked for any grid.
TEST(VitRelpos, FeaturesOfAnySize) {
  for (const char* more : {"{}", R"({"prefix_tokens":["cls_token"],"pool":"cls","final_norm":"norm"})",
                           R"({"shared_rel_pos":true,"final_norm":"norm"})",
                           R"({"block_norm":"post","layer_scale":false,"prefix_tokens":["cls_token"]})"}) {
    const auto model = made(more);
    const Var images(random_tensor({2, 3, 12, 20}, 3));
    const Features f = model->features({}, images);
    EXPECT_EQ(f.last().tokens.shape(), (Shape{2, 15, 8})) << more;
    EXPECT_EQ(f.cls.shape(), (Shape{2, 8})) << more;
    EXPECT_EQ(model->forward({}, images).shape(), (Shape{2, 3})) << more;
    EXPECT_THROW(model->forward({}, Var(random_tensor({1, 3, 12, 18}, 3))), Error);
  }
}

// Values of a size at which a dropped channel is far above a rounding.
class LargeSource final : public WeightSource {
 public:
  Tensor get(const std::string&, const Shape& shape, const Init&) override {
    return random_tensor(shape, ++seed_);
  }

 private:
  std::uint64_t seed_ = 0;
};

// While training, hidden channels of the MLP are dropped.
TEST(VitRelpos, DropsHiddenChannelsOfTheBias) {
  LargeSource source;
  const auto model = make_model("vit_relpos", kTiny, Weights(source, WeightMode::train));
  const Var images(random_tensor({1, 3, 16, 16}, 3));
  Rng rng(7);
  Context ctx;
  ctx.train = true;
  ctx.rng = &rng;
  const Tensor still = model->forward({}, images).value(), trained = model->forward(ctx, images).value();
  float largest = 0;
  for (std::int64_t i = 0; i < still.numel(); ++i)
    largest = std::max(largest, std::abs(still[i] - trained[i]));
  EXPECT_GT(largest, 1e-3F);
}

TEST(VitRelpos, RefusesWhatCannotBe) {
  for (const char* bad :
       {R"({"heads":3})", R"({"pool":"cls"})", R"({"prefix_tokens":["dist_token"]})",
        R"({"block_norm":"post"})", R"({"rel_coords":"linear"})", R"({"rel_mlp_act":"gelu"})",
        R"({"prefix_tokens":["cls_token"],"pool":"cls","final_norm":"fc_norm"})"})
    EXPECT_THROW(made(bad), Error) << bad;
}

}  // namespace vit_relpos_test
}  // namespace locant
