#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/registry.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace aim_swin_test {

using testing::random_tensor;
using Json = nlohmann::json;

std::unique_ptr<Model> build(const Json& more = Json::object(), WeightMode mode = WeightMode::inference) {
  Json config = {{"dim", 8},      {"depths", {2, 1}}, {"heads", {2, 4}}, {"num_classes", 3},
                 {"in_chans", 2}, {"window", {3, 3}}, {"mlp_ratio", 2},  {"img_size", {6, 24, 24}}};
  config.update(more);
  RandomSource source(7);
  return make_model("aim_swin", config.dump(), Weights(source, mode));
}

std::vector<double> answer(const Model& model, const Tensor& clips) {
  return testing::to_double(model.forward(Context{}, Var(clips)).value());
}

// Swin-B's 87,768,224 with 400 classes for 1000 (-615,000) and patches of two frames (+6,144), two adapters
// in all blocks and one in every second, of C^2 / 2 + 5 C / 4 each, and tables of 31 rows in every second.
TEST(AimSwin, ParametersByArithmetic) {
  std::int64_t expected = 87'768'224 - 615'000 + 6'144;
  const std::int64_t depths[] = {2, 2, 18, 2};
  for (std::int64_t s = 0; s < 4; ++s) {
    const std::int64_t C = 128 << s, even = depths[s] / 2;
    expected += (2 * depths[s] + even) * (C * C / 2 + 5 * C / 4) + even * 31 * (C / 32);
  }
  const ModelEntry& entry = find_model("aim_swin_base");
  std::int64_t numbers = 0;
  for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
  EXPECT_EQ(numbers, expected);
  EXPECT_EQ(numbers, 95'927'276);
}

TEST(AimSwin, FeaturesAreGridsOfFrames) {
  const auto model = build();
  const Features features = model->features({}, Var(random_tensor({2, 2, 6, 18, 21}, 1)));
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{2, 3 * 5 * 6, 8}));
  EXPECT_EQ(features.last().tokens.shape(), (Shape{2, 3 * 3 * 3, 16}));
  EXPECT_EQ(features.last().stride, 8);
  EXPECT_EQ(features.cls.shape(), (Shape{2, 16}));
}

// Frames meet in the temporal pass alone. A fresh T_Adapter gives zero, so that a fresh model sees frames one
// by one, and the order of token frames is nothing to it.
TEST(AimSwin, FreshModelsSeeFramesOneByOne) {
  const Tensor clip = random_tensor({1, 2, 6, 24, 24}, 2);
  const std::int64_t frame = 24 * 24;
  Tensor turned = clip;
  for (std::int64_t c = 0; c < 2; ++c)
    for (std::int64_t t = 0; t < 6; ++t)
      for (std::int64_t i = 0; i < frame; ++i)
        turned[(c * 6 + t) * frame + i] = clip[(c * 6 + (t + 2) % 6) * frame + i];
  const std::vector<double> fresh = answer(*build(), clip);
  testing::expect_close(build()->forward({}, Var(turned)).value(), fresh, 1e-5, "logits");
  const Json embedding = {{"temporal_bias", false}};
  testing::expect_close(build(embedding)->forward({}, Var(turned)).value(), answer(*build(embedding), clip),
                        1e-5, "logits");
}

TEST(AimSwin, ClipsOfABatchDoNotSeeEachOther) {
  const auto model = build();
  const Tensor two = random_tensor({2, 2, 6, 20, 28}, 3);
  const Tensor both = model->forward({}, Var(two)).value();
  for (std::int64_t b = 0; b < 2; ++b)
    testing::expect_close(both.slice(b, b + 1), answer(*model, two.slice(b, b + 1)), 1e-5, "logits");
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(AimSwin, RefusesWhatMakesNoModel) {
  for (const Json& more : {Json{{"dim", 9}}, Json{{"adapter_ratio", 0.01}}, Json{{"window", {2, 3, 3}}},
                           Json{{"window", {0, 3}}}, Json{{"qkv_bias", "none"}}, Json{{"pool", "none"}},
                           Json{{"img_size", {24, 24}}}, Json{{"temporal_bias", "no"}}})
    EXPECT_NE(error_of([&] { build(more); }), "") << more;
}

TEST(AimSwin, RefusesClipsOfOtherLengths) {
  EXPECT_NE(error_of([] {
              answer(*build(), Tensor::zeros({1, 2, 8, 24, 24}));
            }).find("so that clips need 6 frames"),
            std::string::npos);
  EXPECT_EQ(answer(*build(), Tensor::zeros({1, 2, 5, 24, 24})).size(), 3u);  // zeros fill the last patch
}

TEST(AimSwin, TellsFramesAndAdapters) {
  const Family& family = find_family("aim_swin");
  for (const Json& config :
       {Json{{"img_size", {12, 224, 224}}}, Json{{"adapter_ratio", 0.5}},
        Json{{"temporal_bias", false}, {"img_size", {8, 224, 224}}}, Json{{"window", {5, 5}}}}) {
    std::map<std::string, Shape> shapes;
    for (const Parameter& p : model_parameters("aim_swin", config.dump())) shapes.emplace(p.name, p.shape);
    const Json told = Json::parse(family.from_shapes(family, NamedShapes(family.name, shapes, {}), ""));
    for (const auto& [key, value] : config.items()) EXPECT_EQ(told[key], value) << key;
  }
}

}  // namespace aim_swin_test
}  // namespace locant
