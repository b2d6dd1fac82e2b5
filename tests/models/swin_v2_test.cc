#include <fmt/format.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
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
    std::uint64_t seed = 1469598103934665603ULL;
    for (const char c : full) seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
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

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

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

TEST(SwinV2, ParameterCountsArePublished) {
  const std::map<std::string, std::int64_t> published = {
      {"swinv2_tiny_window8_256", 28'347'154},
      {"swinv2_tiny_window16_256", 28'347'154},
      {"swinv2_small_window8_256", 49'728'418},
      {"swinv2_small_window16_256", 49'728'418},
      {"swinv2_base_window8_256", 87'918'816},
      {"swinv2_base_window16_256", 87'918'816},
      {"swinv2_base_window12to16_192to256", 87'918'816},
      {"swinv2_base_window12to24_192to384", 87'918'816},
      {"swinv2_large_window12to16_192to256", 196'739'932},
      {"swinv2_large_window12to24_192to384", 196'739'932},
      {"swinv2_base_window12_192", 87'918'816 + 20'841 * 1025},  // 21,841 classes in place of 1000
      {"swinv2_large_window12_192", 196'739'932 + 20'841 * 1537},
      {"swin_v2_t", 28'351'570},
      {"swin_v2_s", 49'737'442},
      {"swin_v2_b", 87'930'848},
  };
  std::size_t found = 0;
  for (const ModelEntry& entry : model_entries()) {
    if (entry.family != "swin_v2") continue;
    ASSERT_EQ(published.count(entry.name), 1u) << entry.name;
    std::int64_t count = 0;
    for (const auto& [name, shape] : shapes_of(entry.config)) count += shape.numel();
    EXPECT_EQ(count, published.at(entry.name)) << entry.name;
    ++found;
  }
  EXPECT_EQ(found, published.size());
}

TEST(SwinV2, PicturesArePreparedAsPublished) {
  const auto preprocess = [](const char* model, const char* naming) {
    return Preprocess::from_json(
        find_renames("swin_v2", naming).configure_preprocess(find_model(model).preprocess.to_json()));
  };
  EXPECT_EQ(preprocess("swinv2_tiny", "timm").crop_pct, 0.9);
  EXPECT_EQ(preprocess("swinv2_tiny", "microsoft/Swin-Transformer").crop_pct, 0.875);
  EXPECT_EQ(preprocess("swinv2_base_window12_192.ms_in22k", "timm").rows, 192);
  const char* large = "swinv2_large_window12to24_192to384";
  EXPECT_EQ(preprocess(large, "timm").crop_pct, 1.0);
  EXPECT_EQ(preprocess(large, "timm").rows, 384);
  EXPECT_EQ(preprocess(large, "microsoft/Swin-Transformer").mode, Preprocess::Mode::squash);
  EXPECT_EQ(preprocess("swinv2_tiny", "transformers").mode, Preprocess::Mode::squash);
  EXPECT_EQ(preprocess("torchvision/swin_v2_t", "torchvision").resize_to, 260);
  EXPECT_EQ(preprocess("swin_v2_b", "torchvision").resize_to, 272);
  EXPECT_EQ(preprocess("swin_v2_s", "torchvision").rows, 256);
}

TEST(SwinV2, LibrariesHaveTheirNames) {
  const auto names = [](const char* naming, const char* ours) {
    std::vector<std::string> out;
    const Renames& renames = find_renames("swin_v2", naming);
    for (const SourcePiece& piece : renames.to_library(ours, {12, 3})) {
      out.push_back(piece.name);
      EXPECT_EQ(renames.to_ours(piece.name), ours);
      EXPECT_FALSE(renames.is_derived(piece.name)) << piece.name;
    }
    return out;
  };
  using Names = std::vector<std::string>;
  const char* q_bias = "layers.1.blocks.0.attn.q_bias";
  const char* mlp = "layers.1.blocks.0.attn.cpb_mlp.2.weight";
  const char* merging = "layers.0.downsample.norm.bias";
  EXPECT_EQ(names("microsoft/Swin-Transformer", q_bias), Names{q_bias});
  EXPECT_EQ(names("timm", mlp), Names{mlp});
  EXPECT_EQ(names("timm", merging), Names{"layers.1.downsample.norm.bias"});
  EXPECT_EQ(names("timm", "head.weight"), Names{"head.fc.weight"});
  EXPECT_EQ(names("torchvision", "layers.1.blocks.0.attn.qkv.bias"), Names{"features.3.0.attn.qkv.bias"});
  EXPECT_EQ(names("torchvision", mlp), Names{"features.3.0.attn.cpb_mlp.2.weight"});
  EXPECT_EQ(names("torchvision", merging), Names{"features.2.norm.bias"});
  const std::string self = "encoder.layers.1.blocks.0.attention.self.";
  EXPECT_EQ(names("transformers", q_bias), Names{self + "query.bias"});
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.attn.v_bias"), Names{self + "value.bias"});
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.attn.qkv.weight"),
            (Names{self + "query.weight", self + "key.weight", self + "value.weight"}));
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.attn.logit_scale"), Names{self + "logit_scale"});
  EXPECT_EQ(names("transformers", mlp), Names{self + "continuous_position_bias_mlp.2.weight"});
  EXPECT_EQ(names("transformers", "layers.1.blocks.0.norm1.weight"),
            Names{"encoder.layers.1.blocks.0.layernorm_before.weight"});
  EXPECT_EQ(names("transformers", merging), Names{"encoder.layers.0.downsample.norm.bias"});
  EXPECT_EQ(find_renames("swin_v2", "transformers").normalised("swinv2.layernorm.bias"), "layernorm.bias");
  for (const char* buffer :
       {"attn.relative_position_index", "attn.relative_coords_table", "attn_mask", "attn.k_bias"})
    EXPECT_TRUE(find_renames("swin_v2", "timm").is_derived(std::string("layers.0.blocks.1.") + buffer));
}

TEST(SwinV2, NamingsSayHowTheyCompute) {
  const auto complete = [](const char* naming, const char* config) {
    return Json::parse(find_renames("swin_v2", naming).complete(config));
  };
  const Json timm = complete("timm", R"({"window_fit":"shrink"})");
  EXPECT_EQ(timm["window_fit"], "shrink_axis");
  EXPECT_EQ(timm["pad_order"], "roll_then_pad");
  const Json torchvision = complete("torchvision", "{}");
  EXPECT_EQ(torchvision["window_fit"], "pad");
  EXPECT_EQ(torchvision["qkv_bias"], "full_k_zeroed");
  EXPECT_EQ(complete("transformers", R"({"norm_eps":1e-6})")["merge_norm_eps"], 1e-5);
}

TEST(SwinV2, HubConfigurationsBecomeOurs) {
  const HubKeys keys = kSwinV2.hub().at(0);
  EXPECT_EQ(keys.model_type, "swinv2");
  const std::string config = from_hub(
      keys, R"({"model_type":"swinv2","image_size":64,"patch_size":4,"embed_dim":24,"depths":[2,2],)"
            R"("num_heads":[2,4],"window_size":8,"pretrained_window_sizes":[6,6],"layer_norm_eps":1e-6,)"
            R"("qkv_bias":true,"id2label":{"0":"a","1":"b","2":"c"}})");
  ShapeSource source;
  const Json got = Json::parse(make_model("swin_v2", config, Weights(source, WeightMode::shapes))->config());
  EXPECT_EQ(got["pretrained_window_sizes"], Json::parse("[6,6]"));
  EXPECT_EQ(got["window"], Json::parse("[8,8]"));
  EXPECT_EQ(got["num_classes"], 3);
  EXPECT_EQ(got["norm_eps"], 1e-6);
  EXPECT_EQ(got["merge_norm_eps"], 1e-5);
}

// ---- shapes

TEST(SwinV2, ShapesDoNotTellTheWindows) {
  const auto told = [](const char* model, std::map<std::string, Shape> derived) {
    const NamedShapes shapes("swin_v2", shapes_of(find_model(model).config), std::move(derived));
    return kSwinV2.from_shapes(kSwinV2, shapes);
  };
  const std::string message = message_of([&] { told("swinv2_base_window16_256", {}); });
  for (const char* part : {"must be told", "swinv2_base_window8_256", "swinv2_base_window12to24_192to384"})
    EXPECT_NE(message.find(part), std::string::npos) << message;
  EXPECT_EQ(message.find("swin_v2_b"), std::string::npos) << message;
  // The window is in the shape of a buffer, the one of the pretraining in that of none.
  const char* table = "layers.0.blocks.0.attn.relative_coords_table";
  const char* mask = "layers.0.blocks.1.attn_mask";
  EXPECT_NE(message_of([&] {
              told("swinv2_base_window16_256", {{table, {1, 31, 31, 2}}});
            }).find("swinv2_base_window12to16_192to256"),
            std::string::npos);
  const Json tiny = Json::parse(told("swinv2_tiny", {{table, {1, 31, 31, 2}}, {mask, {16, 256, 256}}}));
  EXPECT_EQ(tiny["window"], Json::parse("[16,16]"));
  EXPECT_EQ(tiny["img_size"], Json::parse("[256,256]"));
  const Json tuned = Json::parse(
      told("swinv2_base_window12to24_192to384", {{table, {1, 47, 47, 2}}, {mask, {16, 576, 576}}}));
  EXPECT_EQ(tuned["pretrained_window_sizes"], Json::parse("[12,12,12,6]"));
  EXPECT_EQ(tuned["img_size"], Json::parse("[384,384]"));
  const Json torchvision = Json::parse(told("swin_v2_t", {{table, {1, 15, 15, 2}}}));
  EXPECT_EQ(torchvision["qkv_bias"], "full_k_zeroed");
  EXPECT_EQ(torchvision["img_size"], Json::parse("[256,256]"));
  EXPECT_THROW(told("swinv2_tiny", {{table, {1, 1 << 20, 1 << 20, 2}}}), Error);
}

// A file's buffers are seen under our names, and are no parameters.
TEST(SwinV2, ShapesOfAFileHaveItsBuffers) {
  const std::string path = ::testing::TempDir() + "swin_v2_buffers.safetensors";
  write_safetensors(path,
                    {{"features.1.0.attn.relative_coords_table", Tensor::zeros({1, 3, 3, 2})},
                     {"features.1.0.attn.logit_scale", Tensor::zeros({3, 1, 1})}},
                    {});
  const auto file = open_tensor_file(path);
  const NamedShapes shapes("swin_v2", *file, find_renames("swin_v2", "torchvision"));
  const char* table = "layers.0.blocks.0.attn.relative_coords_table";
  ASSERT_NE(shapes.derived(table), nullptr);
  EXPECT_EQ(*shapes.derived(table), (Shape{1, 3, 3, 2}));
  EXPECT_FALSE(shapes.has(table));
  EXPECT_TRUE(shapes.has("layers.0.blocks.0.attn.logit_scale"));
  EXPECT_EQ(shapes.derived("layers.0.blocks.1.attn_mask"), nullptr);
}

TEST(SwinV2, ShapesTellTheRest) {
  const std::string config =
      small(R"({"img_size":[8,16],"window":[2,3],"qkv_bias":"none","patch_norm":false,"num_classes":0})");
  const NamedShapes shapes("swin_v2", shapes_of(config),
                           {{"layers.0.blocks.0.attn.relative_coords_table", {1, 3, 5, 2}}});
  const std::string told = kSwinV2.from_shapes(kSwinV2, shapes);
  EXPECT_EQ(shapes_of(told), shapes_of(config));
  const Json got = Json::parse(told);
  EXPECT_EQ(got["window"], Json::parse("[2,3]"));
  EXPECT_EQ(got["heads"], Json::parse("[2,4]"));
  EXPECT_EQ(got["mlp_ratio"], 2.0);
  std::string assumed;
  for (const std::string& line : shapes.assumed()) assumed += line + "; ";
  for (const char* part : {"pretrained_window_sizes", "img_size", "norm_eps"})
    EXPECT_NE(assumed.find(part), std::string::npos) << assumed;
}

}  // namespace swin_v2_test
}  // namespace locant
