#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "core/rng.h"
#include "models/family.h"
#include "models/registry.h"
#include "nn/windows.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace swin_v2_test {

using testing::golden_input;
using testing::random_tensor;
using testing::SineSource;
using Json = nlohmann::json;

/// Numbers of a size that make every part count, the same for the same name.
class LivelySource final : public WeightSource {
 public:
  explicit LivelySource(std::string path = "") : path_(std::move(path)) {}
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    const std::string full = path_ + name;
    const std::uint64_t seed = fnv1a64(full);
    const bool gain = full.find("norm") != std::string::npos && full.find(".weight") != std::string::npos;
    const float scale =
        shape.rank() == 2 ? 1.2f / std::sqrt(static_cast<float>(shape.numel() / shape[0])) : 0.3f;
    Tensor out = random_tensor(shape, seed, scale);
    if (gain)
      for (float& x : out.values()) x += 1.0f;
    return out;
  }

 private:
  std::string path_;
};

constexpr const char* kSmall =
    R"({"img_size":16,"patch_size":2,"in_chans":2,"num_classes":5,"dim":8,"depths":[2,2],"heads":[2,4],)"
    R"("window":4,"mlp_ratio":2,"cpb_hidden":16})";

std::string small(const std::string& changes) { return merge_config(kSmall, changes); }

std::unique_ptr<Model> build(const std::string& config, WeightMode mode = WeightMode::train) {
  LivelySource source;
  return make_model("swin_v2", config, Weights(source, mode));
}

std::unique_ptr<Model> build_layer(const std::string& config, WeightSource& source,
                                   WeightMode mode = WeightMode::train) {
  return make_model("window_attention_v2", config, Weights(source, mode));
}

std::map<std::string, Shape> shapes_of(const std::string& config) {
  std::map<std::string, Shape> out;
  for (const Parameter& p : model_parameters("swin_v2", config)) out.emplace(p.name, p.shape);
  return out;
}

Var parameter(const Model& model, const std::string& name) {
  for (const Parameter& p : model.parameters())
    if (p.name == name) return p.value;
  ADD_FAILURE() << "no parameter " << name;
  return {};
}

struct Seen final : Probe {
  void see(const std::string& path, const Var& value) override { values[path] = value; }
  std::map<std::string, Var> values;
};

// ---- the attention alone

// The spec's golden layer on a 2 x 2 window.
TEST(WindowAttentionV2, GoldenOfTheSpec) {
  constexpr double kWant[16] = {0.562222,  0.860933,  0.070980,  -0.743054, 0.756535,  0.915206,
                                -0.072476, -0.931751, 0.567867,  0.603533,  -0.175857, -0.716949,
                                0.476831,  0.653233,  -0.038251, -0.637706};
  SineSource source({"logit_scale", "q_bias", "v_bias", "cpb_mlp.0.weight", "cpb_mlp.0.bias",
                     "cpb_mlp.2.weight", "qkv.weight", "proj.weight", "proj.bias"});
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const auto layer = build_layer(R"({"dim":4,"heads":2,"window":2})", source, mode);
    const Tensor out = layer->forward({}, Var(golden_input({1, 4, 4}))).value();
    for (std::int64_t x = 0; x < 16; ++x) EXPECT_NEAR(out[x], kWant[x], 2e-6) << x;
  }
}

TEST(WindowAttentionV2, OfficialStart) {
  RandomSource source(1);
  const auto layer = build_layer(R"({"dim":6,"heads":3,"window":2})", source);
  std::vector<std::string> names;
  std::set<std::string> decaying;
  for (const Parameter& p : layer->parameters()) {
    names.push_back(p.name);
    if (p.decays) decaying.insert(p.name);
    const bool bias = p.name == "q_bias" || p.name == "v_bias" || p.name == "cpb_mlp.0.bias";
    for (const float x : p.value.value().values()) {
      if (p.name == "logit_scale") {
        EXPECT_FLOAT_EQ(x, std::log(10.0f));
      }
      if (bias) {
        EXPECT_EQ(x, 0.0f);
      }
    }
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"logit_scale", "q_bias", "v_bias", "cpb_mlp.0.weight", "cpb_mlp.0.bias",
                                      "cpb_mlp.2.weight", "qkv.weight", "proj.weight", "proj.bias"}));
  EXPECT_EQ(decaying, (std::set<std::string>{"qkv.weight", "proj.weight"}));
}

// Beyond ln 100 the temperature stays, and its logarithm gets no gradient.
TEST(WindowAttentionV2, ClampedTemperature) {
  RandomSource source(3);
  const auto layer = build_layer(R"({"dim":4,"heads":2,"window":2})", source);
  Var scale = parameter(*layer, "logit_scale");
  const Var x(random_tensor({1, 4, 4}, 5));
  scale.assign(Tensor::from({2, 1, 1}, std::vector<float>{4.605170185988092f, 2.0f}));
  const Tensor at = layer->forward({}, x).value();
  scale.assign(Tensor::from({2, 1, 1}, std::vector<float>{9.0f, 2.0f}));
  Tape tape;
  const Var beyond = layer->forward({.tape = &tape}, x);
  for (std::int64_t n = 0; n < 16; ++n) EXPECT_EQ(beyond.value()[n], at[n]);
  tape.backward({{beyond, random_tensor({1, 4, 4}, 6)}});
  EXPECT_EQ(scale.grad()[0], 0.0f);
  EXPECT_NE(scale.grad()[1], 0.0f);
}

// A bias of all three is that of q and v: what it says of the keys has neither effect nor gradient.
TEST(WindowAttentionV2, TheKeysHaveNoBias) {
  LivelySource source;
  const auto split = build_layer(R"({"dim":4,"heads":2,"window":2})", source);
  const auto joint = build_layer(R"({"dim":4,"heads":2,"window":2,"qkv_bias":"full_k_zeroed"})", source);
  const Tensor bias = random_tensor({12}, 2);
  parameter(*joint, "qkv.bias").assign(bias.clone());
  parameter(*split, "q_bias").assign(bias.slice(0, 4).clone());
  parameter(*split, "v_bias").assign(bias.slice(8, 12).clone());
  const Var x(random_tensor({2, 4, 4}, 3));
  Tape tape;
  const Var got = joint->forward({.tape = &tape}, x);
  testing::expect_close(got.value(), testing::to_double(split->forward({}, x).value()), 1e-6, "joint bias");
  tape.backward({{got, random_tensor({2, 4, 4}, 4)}});
  const Tensor& gradient = parameter(*joint, "qkv.bias").grad();
  for (std::int64_t n = 0; n < 12; ++n) EXPECT_EQ(gradient[n] == 0.0f, n >= 4 && n < 8) << n;
}

TEST(WindowAttentionV2, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  for (const char* config :
       {R"({"dim":6,"heads":4})", R"({"dim":6,"heads":0})", R"({"dim":6,"heads":2,"window":[0,2]})",
        R"({"pretrained_window":[4,1]})", R"({"l2_eps":0})", R"({"qkv_bias":"full"})", R"({"windows":2})"})
    EXPECT_THROW(build_layer(config, source), Error) << config;
  const auto layer = build_layer(R"({"dim":4,"heads":2,"window":2})", source);
  const Var x(random_tensor({2, 4, 4}, 1)), two(Tensor::full({1}, 2.0f)), three(Tensor::full({1}, 3.0f));
  EXPECT_EQ(layer->run({}, {{"input", x}, {"batch_windows", two}}).at("output").shape(), x.shape());
  EXPECT_THROW(layer->run({}, {{"input", x}, {"batch_windows", three}}), Error);
  EXPECT_THROW(layer->forward({}, Var(random_tensor({2, 5, 4}, 1))), Error);
}

// ---- in the model

struct Case {
  const char* name;
  const char* config;          // changes of kSmall
  std::int64_t rows, columns;  // of the image
  Window made;                 // of stage 0 at construction
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"exact", R"({})", 16, 16, {4, 4}},
      {"pretrained", R"({"pretrained_window_sizes":[3,2]})", 16, 24, {4, 4}},
      {"window_not_square", R"({"window":[2,4],"qkv_bias":"none"})", 16, 16, {2, 4}},
      {"padded", R"({"window_fit":"pad"})", 10, 14, {4, 4}},
      {"padded_no_bias", R"({"window_fit":"pad","qkv_bias":"none"})", 10, 14, {4, 4}},
      {"padded_joint_bias", R"({"window_fit":"pad","qkv_bias":"full_k_zeroed"})", 10, 14, {4, 4}},
      {"padded_rolled_first", R"({"window_fit":"shrink_axis","pad_order":"roll_then_pad"})", 10, 14, {4, 4}},
      {"shrunk_at_construction", R"({"img_size":[6,20]})", 6, 20, {3, 3}},
      {"shrunk_by_axis_at_construction", R"({"img_size":[6,20],"window_fit":"shrink_axis"})", 6, 20, {3, 4}},
      {"shrunk_when_run", R"({})", 6, 16, {4, 4}},
      {"shrunk_by_axis_when_run", R"({"window_fit":"shrink_axis"})", 6, 16, {4, 4}},
  };
  return all;
}

class SwinV2Sizes : public ::testing::TestWithParam<std::size_t> {};

// The first block's attention, in windows that are maps of the fused op, against windows cut by hand: padded
// tokens are zeros before the projection, and a window that shrinks when run keeps its coordinates.
TEST_P(SwinV2Sizes, AttendsAsInWindowsCutByHand) {
  const Case& c = cases()[GetParam()];
  const Json config = Json::parse(small(c.config));
  const auto model = build(config.dump());
  Seen seen;
  model->forward({.probe = &seen}, Var(random_tensor({2, 2, c.rows, c.columns}, 1)));

  const std::string fit = config.value("window_fit", "shrink");
  const WindowLayout layout = fit_windows(c.made, {1, (c.rows + 1) / 2, (c.columns + 1) / 2},
                                          fit == "pad"      ? GridFit::pad
                                          : fit == "shrink" ? GridFit::shrink
                                                            : GridFit::shrink_axis,
                                          PadOrder::pad_then_roll, false);
  const RowMaps rows = make_window_rows(layout);
  Json alone = {{"dim", 8},
                {"heads", 2},
                {"cpb_hidden", 16},
                {"qkv_bias", config.value("qkv_bias", "q_v")},
                {"window", {layout.window.rows, layout.window.columns}},
                {"pretrained_window", {c.made.rows, c.made.columns}}};
  if (config.contains("pretrained_window_sizes"))
    alone["pretrained_window"] = config["pretrained_window_sizes"][0];
  LivelySource source("layers.0.blocks.0.attn.");
  const auto layer = build_layer(alone.dump(), source);
  const Tensor want =
      layer->forward({}, Var(window_order(seen.values.at("patch_embed").value(), rows))).value();
  const Tensor got = seen.values.at("layers.0.blocks.0.attn").value();
  ASSERT_EQ(got.shape(), want.shape());
  const auto slots = static_cast<std::int64_t>(rows.query_rows.size());
  double worst = 0;
  for (std::int64_t n = 0; n < want.numel(); ++n)
    if (rows.query_rows[static_cast<std::size_t>(n / 8 % slots)] >= 0)
      worst = std::max(worst, std::abs(static_cast<double>(got[n]) - want[n]));
  EXPECT_LT(worst, 5e-6);
}

TEST_P(SwinV2Sizes, PackedWeightsGiveTheSame) {
  const Case& c = cases()[GetParam()];
  const Var images(random_tensor({2, 2, c.rows, c.columns}, 2));
  const Tensor want = build(small(c.config))->forward({}, images).value();
  EXPECT_EQ(want.shape(), (Shape{2, 5}));
  testing::expect_close(build(small(c.config), WeightMode::inference)->forward({}, images).value(),
                        testing::to_double(want), 1e-5, "inference");
}

INSTANTIATE_TEST_SUITE_P(SwinV2, SwinV2Sizes, ::testing::Range<std::size_t>(0, 11),
                         [](const auto& info) { return std::string(cases()[info.param].name); });

TEST(SwinV2, ShowsItsStages) {
  Seen seen;
  build(kSmall)->forward({.probe = &seen}, Var(random_tensor({2, 2, 16, 16}, 1)));
  const std::map<std::string, Shape> want = {
      {"patch_embed", {2, 64, 8}},
      {"layers.0.blocks.0.attn.cpb_mlp", {1, 7, 7, 2}},
      {"layers.0.blocks.0.attn", {8, 16, 8}},  // in window order: (B * windows, tokens, C)
      {"layers.0.blocks.1", {2, 64, 8}},
      {"layers.0.blocks", {2, 64, 8}},
      {"layers.0.downsample", {2, 16, 16}},
      {"layers.0", {2, 16, 16}},
      {"layers.1", {2, 16, 16}},
      {"norm", {2, 16, 16}},
      {"avgpool", {2, 16}},
      {"head", {2, 5}},
  };
  for (const auto& [path, shape] : want) {
    ASSERT_EQ(seen.values.count(path), 1u) << path;
    EXPECT_EQ(seen.values[path].shape(), shape) << path;
  }
  EXPECT_EQ(seen.values.count("layers.1.downsample"), 0u);
}

TEST(SwinV2, FeaturesAreAPyramidAndTheMean) {
  const auto model = build(small(R"({"num_classes":0})"), WeightMode::inference);
  const Var images(random_tensor({2, 2, 16, 20}, 5));
  const Features features = model->features({}, images);
  ASSERT_EQ(features.levels.size(), 2u);
  EXPECT_EQ(features.levels[0].tokens.shape(), (Shape{2, 80, 8}));
  EXPECT_EQ(features.levels[0].stride, 2);
  EXPECT_EQ(features.last().tokens.shape(), (Shape{2, 20, 16}));
  EXPECT_EQ(features.last().grid.rows, 4);
  EXPECT_EQ(features.last().grid.columns, 5);
  EXPECT_EQ(features.last().stride, 4);
  EXPECT_FALSE(features.attention.defined());
  const Tensor pooled = model->forward({}, images).value(), cls = features.cls.value();
  ASSERT_EQ(cls.shape(), (Shape{2, 16}));
  EXPECT_TRUE(
      std::equal(pooled.values().begin(), pooled.values().end(), cls.values().begin(), cls.values().end()));
}

TEST(SwinV2, AbsolutePositionsServeOtherSizes) {
  const auto model = build(small(R"({"absolute_pos":true})"));
  const auto plain = build(kSmall);
  for (const auto& [rows, columns] : {std::pair<std::int64_t, std::int64_t>{16, 16}, {24, 20}}) {
    const Var images(random_tensor({1, 2, rows, columns}, 3));
    const Tensor with = model->forward({}, images).value(), without = plain->forward({}, images).value();
    EXPECT_EQ(with.shape(), (Shape{1, 5}));
    EXPECT_GT(testing::worst_error(with.values(), testing::to_double(without)), 1e-3);
  }
}

// Norms behind the branches start at zero; torchvision's do not.
TEST(SwinV2, BlocksStartAsTheIdentity) {
  for (const bool torchvision : {false, true}) {
    RandomSource source(1);
    const auto model = make_model("swin_v2", small(torchvision ? R"({"qkv_bias":"full_k_zeroed"})" : "{}"),
                                  Weights(source, WeightMode::train));
    Seen seen;
    model->forward({.probe = &seen}, Var(random_tensor({1, 2, 16, 16}, 1)));
    const Tensor before = seen.values.at("patch_embed").value(),
                 after = seen.values.at("layers.0.blocks").value();
    const bool same = std::equal(before.values().begin(), before.values().end(), after.values().begin());
    EXPECT_EQ(same, !torchvision);
    for (const Parameter& p : model->parameters()) {
      const bool inner =
          p.name.find("cpb_mlp") != std::string::npos || p.name.find("logit_scale") != std::string::npos;
      if (inner) {
        EXPECT_FALSE(p.decays) << p.name;
      }
    }
  }
}

TEST(SwinV2, DropPathActsInTrainingAlone) {
  const auto model = build(small(R"({"drop_path":0.6})")), plain = build(kSmall);
  const Var images(random_tensor({4, 2, 16, 16}, 7));
  const auto run = [&](const Model& m, bool train, std::uint64_t seed) {
    Rng rng(seed);
    const Tensor y = m.forward({.train = train, .rng = &rng}, images).value();
    return std::vector<float>(y.values().begin(), y.values().end());
  };
  EXPECT_EQ(run(*model, false, 1), run(*plain, false, 1));
  EXPECT_EQ(run(*model, true, 1), run(*model, true, 1));
  EXPECT_NE(run(*model, true, 1), run(*model, true, 2));
}

TEST(SwinV2, ConfigurationBuildsTheSameModelAgain) {
  for (const char* text :
       {kSmall, "", R"({"window":[5,4],"drop_path":0.25,"norm_eps":1e-6,"merge_norm_eps":1e-5})",
        R"({"qkv_bias":"full_k_zeroed","window_fit":"pad","patch_norm":false,"absolute_pos":true})",
        R"({"pretrained_window_sizes":[12,12,12,6],"cpb_hidden":64,"bias_scale":8,"l2_eps":1e-6})"}) {
    ShapeSource source;
    const Weights weights(source, WeightMode::shapes);
    const std::string first = make_model("swin_v2", text, weights)->config();
    EXPECT_EQ(make_model("swin_v2", first, weights)->config(), first);
    EXPECT_EQ(shapes_of(first), shapes_of(text));
  }
}

TEST(SwinV2, RefusesConfigurationsThatMakeNoModel) {
  for (const char* text :
       {R"({"dim":97})", R"({"depths":[2,2]})", R"({"window":0})", R"({"window_fit":"stretch"})",
        R"({"pretrained_window_sizes":[12]})", R"({"pretrained_window_sizes":[12,12,12,1]})",
        R"({"block_norm":"pre"})", R"({"merge_norm":"before"})", R"({"qkv_bias":"full"})",
        R"({"img_size":2})", R"({"act":"relu"})", R"({"pretrained_window":7})", R"({"cpb_hidden":0})"})
    EXPECT_THROW(model_parameters("swin_v2", text), Error) << text;
}

// ---- names

}  // namespace swin_v2_test
}  // namespace locant
