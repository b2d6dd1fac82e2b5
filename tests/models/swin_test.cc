#include <fmt/format.h>

#include <map>
#include <thread>

#include "core/error.h"
#include "models/registry.h"
#include "ops/loss.h"
#include "tests/models/swin_reference.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace swin_test {

using testing::random_tensor;
using testing::SwinReference;

/// Numbers of a size that make every part of the model count: tables and biases too.
class LivelySource final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    std::uint64_t seed = 1469598103934665603ULL;
    for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    const bool gain = name.find("norm") != std::string::npos && name.find(".weight") != std::string::npos;
    const bool table = name.find("table") != std::string::npos;
    const float scale = table               ? 1.5f
                        : shape.rank() >= 2 ? 1.2f / std::sqrt(static_cast<float>(shape.numel() / shape[0]))
                                            : 0.3f;
    Tensor out = random_tensor(shape, seed, scale);
    if (gain)
      for (float& x : out.values()) x += 1.0f;
    return out;
  }
};

std::unique_ptr<Model> build(const std::string& config, WeightMode mode) {
  LivelySource source;
  return make_model("swin", config, Weights(source, mode));
}

std::map<std::string, std::vector<double>> numbers_of(const Model& model) {
  std::map<std::string, std::vector<double>> out;
  for (const Parameter& parameter : model.parameters())
    out[parameter.name] = testing::to_double(parameter.value.value());
  return out;
}

struct Case {
  const char* name;
  std::int64_t rows, columns;  // of the image
  std::int64_t img_rows, img_columns;
  std::int64_t window_rows, window_columns;
  const char* fit;
  const char* order;
  const char* remainder;
  std::vector<std::pair<std::int64_t, std::int64_t>> tables;
};

std::string config_of(const Case& c) {
  return fmt::format(
      R"({{"img_size":[{},{}],"patch_size":2,"in_chans":2,"num_classes":5,"dim":8,"depths":[2,2],"heads":[2,4],)"
      R"("window":[{},{}],)"
      R"("window_fit":"{}","pad_order":"{}","patch_remainder":"{}","mlp_ratio":2}})",
      c.img_rows, c.img_columns, c.window_rows, c.window_columns, c.fit, c.order, c.remainder);
}

SwinReference reference_of(const Case& c, const Model& model) {
  SwinReference out;
  out.channels = 2;
  out.patch_rows = out.patch_columns = 2;
  out.dim = 8;
  out.depths = {2, 2};
  out.heads = {2, 4};
  out.fit = std::string(c.fit) == "pad"      ? SwinReference::Fit::pad
            : std::string(c.fit) == "shrink" ? SwinReference::Fit::shrink
                                             : SwinReference::Fit::shrink_axis;
  out.roll_then_pad = std::string(c.order) == "roll_then_pad";
  out.pad_image = std::string(c.remainder) == "pad";
  out.tables = c.tables;
  out.weights = numbers_of(model);
  return out;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"exact", 16, 16, 16, 16, 4, 4, "shrink", "pad_then_roll", "none", {{4, 4}, {4, 4}}},
      {"exact_not_square", 16, 32, 16, 32, 4, 4, "shrink", "pad_then_roll", "none", {{4, 4}, {4, 4}}},
      {"window_not_square", 24, 16, 24, 16, 3, 4, "pad", "pad_then_roll", "none", {{3, 4}, {3, 4}}},
      {"padded_windows", 22, 26, 22, 26, 4, 4, "pad", "pad_then_roll", "drop", {{4, 4}, {4, 4}}},
      {"padded_windows_rolled_first",
       22,
       26,
       22,
       26,
       4,
       4,
       "shrink_axis",
       "roll_then_pad",
       "pad",
       {{4, 4}, {4, 4}}},
      {"image_dropped", 21, 27, 21, 27, 4, 4, "pad", "pad_then_roll", "drop", {{4, 4}, {4, 4}}},
      {"image_padded", 21, 27, 21, 27, 4, 4, "shrink", "pad_then_roll", "pad", {{4, 4}, {4, 4}}},
      {"shrunk_at_construction", 12, 20, 12, 20, 4, 4, "shrink", "pad_then_roll", "none", {{4, 4}, {3, 3}}},
      {"shrunk_by_axis_at_construction",
       12,
       20,
       12,
       20,
       4,
       4,
       "shrink_axis",
       "roll_then_pad",
       "none",
       {{4, 4}, {3, 4}}},
      {"shrunk_when_run", 6, 14, 16, 16, 4, 4, "shrink", "pad_then_roll", "none", {{4, 4}, {4, 4}}},
      {"shrunk_by_axis_when_run",
       6,
       14,
       16,
       16,
       4,
       4,
       "shrink_axis",
       "roll_then_pad",
       "none",
       {{4, 4}, {4, 4}}},
      {"padded_to_one_window", 6, 14, 16, 16, 4, 4, "pad", "pad_then_roll", "none", {{4, 4}, {4, 4}}},
      {"one_token", 2, 2, 16, 16, 4, 4, "shrink", "pad_then_roll", "none", {{4, 4}, {4, 4}}},
  };
  return all;
}

class SwinSizes : public ::testing::TestWithParam<std::size_t> {};

TEST_P(SwinSizes, BothModesFollowTheReference) {
  const Case& c = cases()[GetParam()];
  const auto train = build(config_of(c), WeightMode::train),
             packed = build(config_of(c), WeightMode::inference);
  const Tensor images = random_tensor({2, 2, c.rows, c.columns}, 11);
  const SwinReference reference = reference_of(c, *train);
  std::vector<double> want;
  for (std::int64_t b = 0; b < 2; ++b) {
    const std::vector<double> logits =
        reference.forward(testing::to_double(images.slice(b, b + 1)), c.rows, c.columns);
    want.insert(want.end(), logits.begin(), logits.end());
  }
  Tape tape;
  testing::expect_close(train->forward(Context{.tape = &tape}, Var(images)).value(), want, 2e-5, "training");
  testing::expect_close(packed->forward(Context{}, Var(images)).value(), want, 2e-5, "inference");
}

TEST_P(SwinSizes, GradientsAgreeAlongADirection) {
  const Case& c = cases()[GetParam()];
  const auto model = build(config_of(c), WeightMode::train);
  const Tensor image = random_tensor({1, 2, c.rows, c.columns}, 12), cotangent = random_tensor({1, 5}, 13);
  Tape tape;
  const Var x(image.clone(), true);
  tape.backward({{model->forward(Context{.tape = &tape}, x), cotangent.clone()}});

  const SwinReference at = reference_of(c, *model);
  const auto loss = [&](const SwinReference& reference, const std::vector<double>& pixels) {
    const std::vector<double> y = reference.forward(pixels, c.rows, c.columns);
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) sum += y[i] * cotangent[static_cast<std::int64_t>(i)];
    return sum;
  };
  // One direction a tensor, and one for the image: a derivative of each, so no error hides behind a larger
  // one.
  constexpr double kStep = 1e-5;
  const auto compare = [&](const std::string& name, const Tensor& gradient, auto&& moved_loss) {
    ASSERT_TRUE(gradient.defined()) << name;
    const Tensor direction = random_tensor(gradient.shape(), 14);
    double got = 0, size = 0;
    for (std::int64_t i = 0; i < gradient.numel(); ++i) {
      got += static_cast<double>(gradient[i]) * direction[i];
      size += std::abs(static_cast<double>(gradient[i]) * direction[i]);
    }
    const double want = (moved_loss(direction, kStep) - moved_loss(direction, -kStep)) / (2 * kStep);
    EXPECT_NEAR(got, want, 2e-5 * size + 1e-6) << c.name << ": " << name;
  };
  for (const Parameter& parameter : model->parameters())
    compare(parameter.name, parameter.value.grad(), [&](const Tensor& direction, double step) {
      SwinReference moved = at;
      std::vector<double>& numbers = moved.weights[parameter.name];
      for (std::size_t i = 0; i < numbers.size(); ++i)
        numbers[i] += step * direction[static_cast<std::int64_t>(i)];
      return loss(moved, testing::to_double(image));
    });
  compare("image", x.grad(), [&](const Tensor& direction, double step) {
    std::vector<double> pixels = testing::to_double(image);
    for (std::size_t i = 0; i < pixels.size(); ++i)
      pixels[i] += step * direction[static_cast<std::int64_t>(i)];
    return loss(at, pixels);
  });
}

INSTANTIATE_TEST_SUITE_P(Swin, SwinSizes, ::testing::Range<std::size_t>(0, 13),
                         [](const auto& info) { return std::string(cases()[info.param].name); });

constexpr const char* kSmall =
    R"({"img_size":16,"patch_size":2,"in_chans":2,"num_classes":5,"dim":8,"depths":[2,2],"heads":[2,4],)"
    R"("window":4,"mlp_ratio":2})";

struct Seen final : Probe {
  void see(const std::string& path, const Var& value) override { shapes[path] = value.shape(); }
  std::map<std::string, Shape> shapes;
};

TEST(Swin, ShowsItsStages) {
  Seen seen;
  const auto model = build(kSmall, WeightMode::inference);
  model->forward(Context{.probe = &seen}, Var(random_tensor({2, 2, 16, 16}, 1)));
  const std::map<std::string, Shape> want = {
      {"patch_embed", {2, 64, 8}},
      {"layers.0.blocks.0.attn", {8, 16, 8}},  // in window order: (B * windows, tokens, C)
      {"layers.0.blocks.0", {2, 64, 8}},
      {"layers.0.blocks", {2, 64, 8}},
      {"layers.0.downsample", {2, 16, 16}},
      {"layers.0", {2, 16, 16}},
      {"layers.1.blocks.1", {2, 16, 16}},
      {"layers.1", {2, 16, 16}},
      {"norm", {2, 16, 16}},
      {"avgpool", {2, 16}},
      {"head", {2, 5}},
  };
  for (const auto& [path, shape] : want) {
    ASSERT_EQ(seen.shapes.count(path), 1u) << path;
    EXPECT_EQ(seen.shapes[path], shape) << path;
  }
  EXPECT_EQ(seen.shapes.count("layers.1.downsample"), 0u);
}

TEST(Swin, AbsolutePositionsAreAdded) {
  const Case c{"absolute", 16, 16, 16, 16, 4, 4, "shrink", "pad_then_roll", "none", {{4, 4}, {4, 4}}};
  std::string config = config_of(c);
  config.insert(1, R"("absolute_pos":true,)");
  const auto model = build(config, WeightMode::train);
  SwinReference reference = reference_of(c, *model);
  reference.absolute = true;
  const Tensor image = random_tensor({1, 2, 16, 16}, 3);
  testing::expect_close(model->forward(Context{}, Var(image)).value(),
                        reference.forward(testing::to_double(image), 16, 16), 2e-5, "logits");
  // Another size resizes the table: it runs and differs from leaving it out.
  EXPECT_EQ(model->forward(Context{}, Var(random_tensor({1, 2, 24, 20}, 4))).shape(), (Shape{1, 5}));
}

TEST(Swin, FeaturesArePatchesAndTheirMean) {
  const auto model = build(kSmall, WeightMode::inference);
  const Features features = model->features(Context{}, Var(random_tensor({2, 2, 16, 20}, 5)));
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 5);
  ASSERT_EQ(features.last().tokens.shape(), (Shape{2, 20, 16}));
  ASSERT_EQ(features.cls.shape(), (Shape{2, 16}));
  for (std::int64_t k = 0; k < 16; ++k) {
    double mean = 0;
    for (std::int64_t n = 0; n < 20; ++n) mean += features.last().tokens.value()[n * 16 + k] / 20.0;
    EXPECT_NEAR(features.cls.value()[k], mean, 1e-5);
  }
  EXPECT_FALSE(features.attention.defined());
}

TEST(Swin, WithoutAHeadGivesPooledFeatures) {
  std::string config = kSmall;
  config.replace(config.find(R"("num_classes":5)"), 15, R"("num_classes":0)");
  const auto model = build(config, WeightMode::inference);
  const Var images(random_tensor({1, 2, 16, 16}, 6));
  const Tensor pooled = model->forward(Context{}, images).value(),
               cls = model->features(Context{}, images).cls.value();
  EXPECT_EQ(model->num_classes(), 0);
  EXPECT_TRUE(
      std::equal(pooled.values().begin(), pooled.values().end(), cls.values().begin(), cls.values().end()));
}

TEST(Swin, ConfigurationBuildsTheSameModelAgain) {
  for (const char* text :
       {kSmall, "", R"({"window_fit":"shrink_axis","window":[5,4],"drop_path":0.25,"norm_eps":1e-6})",
        R"({"window_fit":"pad","absolute_pos":true,"patch_norm":false})"}) {
    ShapeSource source;
    const auto first = make_model("swin", text, Weights(source, WeightMode::shapes));
    const auto again = make_model("swin", first->config(), Weights(source, WeightMode::shapes));
    EXPECT_EQ(first->config(), again->config());
    EXPECT_EQ(first->parameters().size(), again->parameters().size());
  }
}

TEST(Swin, NamingFillsTheConventions) {
  ShapeSource source;
  const auto config = [&](const char* naming, const char* text) {
    return make_model("swin", find_renames("swin", naming).complete(text),
                      Weights(source, WeightMode::shapes))
        ->config();
  };
  const std::string timm = config("timm", "{}");
  EXPECT_NE(timm.find(R"("window_fit":"shrink_axis")"), std::string::npos);
  EXPECT_NE(timm.find(R"("pad_order":"roll_then_pad")"), std::string::npos);
  const std::string torchvision = config("torchvision", "{}");
  for (const char* part :
       {R"("window_fit":"pad")", R"("pad_order":"pad_then_roll")", R"("patch_remainder":"drop")"})
    EXPECT_NE(torchvision.find(part), std::string::npos) << part;
  EXPECT_NE(config("timm", R"({"pad_order":"pad_then_roll"})").find(R"("pad_order":"pad_then_roll")"),
            std::string::npos);
  EXPECT_NE(config("timm", R"({"window_fit":"shrink"})").find(R"("window_fit":"shrink_axis")"),
            std::string::npos);
}

TEST(Swin, RefusesConfigurationsThatMakeNoModel) {
  ShapeSource source;
  const Weights weights(source, WeightMode::shapes);
  for (const char* text :
       {R"({"dim":97})", R"({"depths":[2,2]})", R"({"window":0})", R"({"window_fit":"stretch"})",
        R"({"pad_order":"none"})", R"({"patch_remainder":"crop"})", R"({"depths":[0],"heads":[3]})",
        R"({"img_size":2})", R"({"act":"relu"})", R"({"windows":7})", R"({"dim":"96"})", R"({"dim":-96})",
        R"({"depths":2})", R"({"norm_eps":"x"})", R"({"drop_path":1})", R"([])", "{"})
    EXPECT_THROW(make_model("swin", text, weights), Error) << text;
  try {
    make_model("swin", R"({"windows":7})", weights);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(R"("windows" (nearest: "window"))"), std::string::npos)
        << error.what();
  }
}

TEST(Swin, RefusesImagesThatDoNotFit) {
  std::string config = kSmall;
  config.insert(1, R"("patch_remainder":"none",)");
  const auto strict = build(config, WeightMode::inference), padding = build(kSmall, WeightMode::inference);
  EXPECT_THROW(strict->forward(Context{}, Var(Tensor::zeros({1, 2, 17, 16}))), Error);
  EXPECT_THROW(padding->forward(Context{}, Var(Tensor::zeros({1, 3, 16, 16}))), Error);
  EXPECT_THROW(padding->forward(Context{}, Var(Tensor::zeros({2, 16, 16}))), Error);
  EXPECT_THROW(padding->forward(Context{}, Var(Tensor::zeros({1, 2, 0, 16}))), Error);
  EXPECT_EQ(padding->forward(Context{}, Var(Tensor::zeros({1, 2, 1, 1}))).shape(), (Shape{1, 5}));
}

TEST(Swin, DropPathActsInTrainingAlone) {
  std::string config = kSmall;
  config.insert(1, R"("drop_path":0.6,)");
  const auto model = build(config, WeightMode::train), plain = build(kSmall, WeightMode::train);
  const Var images(random_tensor({4, 2, 16, 16}, 7));
  const auto run = [&](const Model& m, bool train, std::uint64_t seed) {
    Rng rng(seed);
    const Tensor y = m.forward(Context{.train = train, .rng = &rng}, images).value();
    return std::vector<float>(y.values().begin(), y.values().end());
  };
  EXPECT_EQ(run(*model, false, 1), run(*plain, false, 1));
  EXPECT_EQ(run(*model, true, 1), run(*model, true, 1));
  EXPECT_NE(run(*model, true, 1), run(*model, true, 2));
  EXPECT_NE(run(*model, true, 1), run(*model, false, 1));
}

TEST(Swin, TheFirstBlockIsNeverDropped) {
  const auto model =
      build(R"({"img_size":16,"patch_size":2,"in_chans":2,"num_classes":5,"dim":8,"depths":[1],"heads":[2],)"
            R"("window":4,"drop_path":0.9})",
            WeightMode::train);
  Rng rng(1);
  const Var images(random_tensor({2, 2, 16, 16}, 9));
  const Tensor dropped = model->forward(Context{.train = true, .rng = &rng}, images).value();
  const Tensor plain = model->forward(Context{}, images).value();
  EXPECT_TRUE(std::equal(dropped.values().begin(), dropped.values().end(), plain.values().begin(),
                         plain.values().end()));
}

TEST(Swin, SeveralThreadsMayRunOneModel) {
  const auto model = build(kSmall, WeightMode::inference);
  const Var images(random_tensor({1, 2, 18, 22}, 8));
  const Tensor want = build(kSmall, WeightMode::inference)->forward(Context{}, images).value();
  std::vector<Tensor> got(3);
  std::vector<std::thread> threads;
  for (Tensor& out : got) threads.emplace_back([&] { out = model->forward(Context{}, images).value(); });
  for (std::thread& thread : threads) thread.join();
  for (const Tensor& out : got) testing::expect_close(out, testing::to_double(want), 1e-6, "logits");
}

}  // namespace swin_test
}  // namespace locant
