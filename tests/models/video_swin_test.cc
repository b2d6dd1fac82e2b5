#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/registry.h"
#include "ops/loss.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace video_swin_test {

using testing::random_tensor;
using Json = nlohmann::json;

std::unique_ptr<Model> build(const Json& more = Json::object(), WeightMode mode = WeightMode::inference) {
  Json config = {{"dim", 8},      {"depths", {2, 1}},    {"heads", {2, 4}}, {"num_classes", 3},
                 {"in_chans", 2}, {"window", {2, 3, 3}}, {"mlp_ratio", 2},  {"patch_size", {2, 4, 4}}};
  config.update(more);
  RandomSource source(7);
  return make_model("video_swin", config.dump(), Weights(source, mode));
}

Tensor answer(const Model& model, const Tensor& clips) {
  return model.forward(Context{}, Var(clips)).value();
}

std::vector<double> numbers(const Tensor& x) { return testing::to_double(x); }

/// A clip with zeros behind each of its axes.
Tensor grown(const Tensor& clip, std::int64_t frames, std::int64_t rows, std::int64_t columns) {
  Tensor out = Tensor::zeros({clip.dim(0), clip.dim(1), frames, rows, columns});
  std::int64_t i = 0;
  for (std::int64_t c = 0; c < clip.dim(0) * clip.dim(1); ++c)
    for (std::int64_t t = 0; t < clip.dim(2); ++t)
      for (std::int64_t r = 0; r < clip.dim(3); ++r)
        for (std::int64_t k = 0; k < clip.dim(4); ++k)
          out[((c * frames + t) * rows + r) * columns + k] = clip[i++];
  return out;
}

// torchvision 0.29.2's SwinTransformer3d with the windows and classes of the releases.
TEST(VideoSwin, ParameterCountsOfTheReleases) {
  for (const auto& [name, count] : {std::pair{"swin_tiny_patch244_window877_kinetics400_1k", 28'158'070},
                                    {"swin_small_patch244_window877_kinetics400_1k", 49'816'678},
                                    {"swin_base_patch244_window877_kinetics400_22k", 88'048'984},
                                    {"swin_base_patch244_window877_kinetics600_22k", 88'253'984},
                                    {"swin_base_patch244_window1677_sthv2", 88'834'038}}) {
    const ModelEntry& entry = find_model(name);
    std::int64_t numbers = 0;
    for (const Parameter& p : model_parameters(entry.family, entry.config)) numbers += p.shape.numel();
    EXPECT_EQ(numbers, count) << name;
  }
}

TEST(VideoSwin, FeaturesAreGridsOfFrames) {
  const auto model = build();
  const Features features = model->features({}, Var(random_tensor({2, 2, 5, 18, 21}, 1)));
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{2, 3 * 5 * 6, 8}));
  EXPECT_EQ(features.levels[0].stride, 4);
  const Features::Level& last = features.last();
  EXPECT_EQ(last.grid.frames, 3);  // merging joins no frames
  EXPECT_EQ(last.grid.rows, 3);
  EXPECT_EQ(last.grid.columns, 3);
  EXPECT_EQ(last.stride, 8);
  ASSERT_EQ(last.tokens.shape(), (Shape{2, 27, 16}));
  ASSERT_EQ(features.cls.shape(), (Shape{2, 16}));
  for (std::int64_t k = 0; k < 16; ++k) {
    double mean = 0;
    for (std::int64_t n = 0; n < 27; ++n) mean += last.tokens.value()[n * 16 + k] / 27.0;
    EXPECT_NEAR(features.cls.value()[k], mean, 1e-5);
  }
}

TEST(VideoSwin, WithoutAHeadGivesTheMeanOrTheGrid) {
  const Tensor clips = random_tensor({1, 2, 5, 18, 21}, 2);
  const auto mean = build({{"num_classes", 0}}), grid = build({{"num_classes", 0}, {"pool", "none"}});
  const Tensor y = answer(*grid, clips);
  ASSERT_EQ(y.shape(), (Shape{1, 16, 3, 3, 3}));
  const Features features = grid->features({}, Var(clips));
  for (std::int64_t k = 0; k < 16; ++k)
    for (std::int64_t n = 0; n < 27; ++n)
      EXPECT_EQ(y[k * 27 + n], features.last().tokens.value()[n * 16 + k]);
  testing::expect_close(answer(*mean, clips), numbers(features.cls.value()), 1e-6, "mean");
}

TEST(VideoSwin, ClipsAreFilledWithZerosToWholePatches) {
  const auto model = build();
  const Tensor clip = random_tensor({1, 2, 5, 18, 21}, 3);
  testing::expect_close(answer(*model, clip), numbers(answer(*model, grown(clip, 6, 20, 24))), 1e-6,
                        "logits");
  EXPECT_GT(
      testing::worst_error(answer(*model, clip).values(), numbers(answer(*model, grown(clip, 8, 20, 24)))),
      1e-3);
}

TEST(VideoSwin, ClipsOfABatchDoNotSeeEachOther) {
  const auto model = build();
  const Tensor two = random_tensor({2, 2, 4, 16, 20}, 4);
  const Tensor both = answer(*model, two);
  for (std::int64_t b = 0; b < 2; ++b)
    testing::expect_close(both.slice(b, b + 1), numbers(answer(*model, two.slice(b, b + 1))), 1e-5, "logits");
}

// Windows that only lost frames read the same numbers by either rule, those that lost rows do not.
TEST(VideoSwin, ShrunkWindowsReadACornerOfTheirTable) {
  const Json own = {{"window_fit", "shrink_axis"}, {"window", {4, 3, 3}}}, corner = {{"window", {4, 3, 3}}};
  const auto difference = [&](std::int64_t rows, std::int64_t columns) {
    const Tensor clip = random_tensor({1, 2, 4, rows, columns}, 5);
    return testing::worst_error(answer(*build(own), clip).values(), numbers(answer(*build(corner), clip)));
  };
  EXPECT_LE(difference(24, 24), 1e-6);
  EXPECT_GT(difference(16, 24), 1e-5);
}

TEST(VideoSwin, DropsInTrainingAlone) {
  const Var clips(random_tensor({2, 2, 4, 16, 16}, 6));
  const auto run = [&](const Json& more, bool train, std::uint64_t seed) {
    Rng rng(seed);
    return numbers(
        build(more, WeightMode::train)->forward(Context{.train = train, .rng = &rng}, clips).value());
  };
  for (const Json& more : {Json{{"dropout", 0.5}}, Json{{"drop_path", 0.6}}}) {
    EXPECT_EQ(run(more, false, 1), run(Json::object(), false, 1));
    EXPECT_EQ(run(more, true, 1), run(more, true, 1));
    EXPECT_NE(run(more, true, 1), run(more, true, 2));
  }
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(VideoSwin, RefusesWhatMakesNoModel) {
  for (const Json& more :
       {Json{{"dim", 9}}, Json{{"depths", {2}}}, Json{{"window", {2, 3}}}, Json{{"window", {0, 3, 3}}},
        Json{{"window", {256, 8, 8}}}, Json{{"patch_size", {4, 4}}}, Json{{"window", 7}},
        Json{{"pool", "none"}}, Json{{"pool", "cls"}}, Json{{"patch_remainder", "drop"}},
        Json{{"absolute_pos", true}}, Json{{"window_fit", "shrink"}}, Json{{"qkv_bias", "q_v"}},
        Json{{"dropout", 1}}, Json{{"mlp_ratio", 0}}})
    EXPECT_NE(error_of([&] { build(more); }), "") << more;
  EXPECT_NE(error_of([] {
              build({{"img_size", {224, 224}}});
            }).find("frames, rows and columns were expected"),
            std::string::npos);
}

TEST(VideoSwin, RefusesWhatIsNoClip) {
  const auto model = build();
  EXPECT_NE(error_of([&] {
              answer(*model, Tensor::zeros({1, 2, 16, 16}));
            }).find("(B C F H W) was expected"),
            std::string::npos);
  EXPECT_NE(error_of([&] {
              model->features({}, Var(Tensor::zeros({1, 2, 16, 16})));
            }).find("(B, 2, frames, H, W) was expected"),
            std::string::npos);
  EXPECT_THROW(answer(*model, Tensor::zeros({1, 3, 4, 16, 16})), Error);
  EXPECT_THROW(answer(*model, Tensor::zeros({1, 2, 0, 16, 16})), Error);
  EXPECT_EQ(answer(*model, Tensor::zeros({1, 2, 1, 1, 1})).shape(), (Shape{1, 3}));
}

// Windows of a file: by its table's rows, where these leave a choice by its table of indices, or as told.
TEST(VideoSwin, TellsItsWindow) {
  const Family& family = find_family("video_swin");
  const auto told = [&](const Json& window, std::int64_t tokens, const std::string& configuration) {
    std::map<std::string, Shape> shapes, derived;
    for (const Parameter& p : model_parameters("video_swin", Json{{"window", window}}.dump()))
      shapes.emplace(p.name, p.shape);
    if (tokens > 0) derived = {{"layers.0.blocks.0.attn.relative_position_index", Shape{tokens, tokens}}};
    const NamedShapes s(family.name, shapes, derived);
    const Json config = Json::parse(family.from_shapes(family, s, configuration));
    return std::pair(config["window"], s.assumed().size());
  };
  const Json paper = {8, 7, 7}, longer = {14, 2, 2}, wide = {2, 3, 4};
  const std::size_t certain = told(paper, 392, "").second;
  EXPECT_EQ(told(paper, 392, "").first, paper);
  EXPECT_EQ(told(paper, 0, ""), std::pair(paper, certain + 1));  // assumed
  EXPECT_EQ(told(longer, 56, ""), std::pair(longer, certain));
  EXPECT_EQ(told(longer, 0, "").first, (Json{2, 5, 5}));
  EXPECT_EQ(told(longer, 0, R"({"window":[14,2,2]})").first, longer);
  EXPECT_EQ(told(wide, 24, R"({"window":[2,3,4]})").first, wide);
  for (const std::int64_t tokens : {0, 24})
    EXPECT_NE(error_of([&] { told(wide, tokens, ""); }).find("must be told"), std::string::npos);
}

}  // namespace video_swin_test
}  // namespace locant
