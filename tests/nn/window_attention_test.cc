#include "core/error.h"
#include "nn/video_swin_block.h"
#include "nn/window_attention_v2.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace window_attention_test {

using testing::golden_input;
using testing::random_tensor;
using testing::SineSource;

// The spec's golden layer on a 2 x 2 window.
TEST(WindowAttentionV2, GoldenOfTheSpec) {
  constexpr double kWant[16] = {0.562222,  0.860933,  0.070980,  -0.743054, 0.756535,  0.915206,
                                -0.072476, -0.931751, 0.567867,  0.603533,  -0.175857, -0.716949,
                                0.476831,  0.653233,  -0.038251, -0.637706};
  SineSource source({"logit_scale", "q_bias", "v_bias", "cpb_mlp.0.weight", "cpb_mlp.0.bias",
                     "cpb_mlp.2.weight", "qkv.weight", "proj.weight", "proj.bias"});
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const WindowAttentionV2 layer(Weights(source, mode), {.width = 4, .heads = 2, .window = {2, 2}});
    const Tensor out = layer({}, Var(golden_input({1, 4, 4}))).value();
    for (std::int64_t x = 0; x < 16; ++x) EXPECT_NEAR(out[x], kWant[x], 2e-6) << x;
  }
}

TEST(WindowAttentionV2, OfficialStart) {
  RandomSource source(1);
  const Weights root(source, WeightMode::train);
  const WindowAttentionV2 layer(root, {.width = 6, .heads = 3, .window = {2, 2}});
  std::vector<std::string> names;
  for (const Parameter& p : root.parameters()) {
    names.push_back(p.name);
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
}

// Beyond ln 100 the temperature stays, and its logarithm gets no gradient.
TEST(WindowAttentionV2, ClampedTemperature) {
  RandomSource source(3);
  const Weights root(source, WeightMode::train);
  const WindowAttentionV2 layer(root, {.width = 4, .heads = 2, .window = {2, 2}});
  Var scale;
  for (const Parameter& p : root.parameters())
    if (p.name == "logit_scale") scale = p.value;
  const Var x(random_tensor({1, 4, 4}, 5));
  scale.assign(Tensor::from({2, 1, 1}, std::vector<float>{4.605170185988092f, 2.0f}));
  const Tensor at = layer({}, x).value();
  scale.assign(Tensor::from({2, 1, 1}, std::vector<float>{9.0f, 2.0f}));
  Tape tape;
  const Var beyond = layer({.tape = &tape}, x);
  for (std::int64_t n = 0; n < 16; ++n) EXPECT_EQ(beyond.value()[n], at[n]);
  tape.backward({{beyond, random_tensor({1, 4, 4}, 6)}});
  EXPECT_EQ(scale.grad()[0], 0.0f);
  EXPECT_NE(scale.grad()[1], 0.0f);
}

// Row maps give what windows cut by hand give, padded tokens as zeros before the projection.
TEST(WindowAttentionV2, PaddingSlotsAreZeroTokens) {
  RandomSource source(4);
  for (const bool bias : {true, false}) {
    const Weights root(source, WeightMode::train);
    const WindowAttentionV2 layer(root, {.width = 4, .heads = 2, .window = {2, 2}, .qkv_bias = bias});
    for (const Parameter& p : root.parameters())
      if (p.name == "q_bias" || p.name == "v_bias") Var(p.value).assign(random_tensor({4}, 8));
    const auto rows =
        std::make_shared<const RowMaps>(make_window_rows({.rows = 3, .columns = 2, .window = {2, 2}}));
    const Var x(random_tensor({2, 6, 4}, 7));
    const Tensor got = window_order(layer({}, x, rows).value(), *rows);
    const Tensor want = layer({}, Var(window_order(x.value(), *rows))).value();
    for (std::int64_t n = 0; n < want.numel(); ++n) {
      if (n / 4 % 8 >= 6) continue;  // the last two slots of eight are padding
      EXPECT_NEAR(got[n], want[n], 1e-6) << n;
    }
  }
}

TEST(WindowAttentionV2, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(WindowAttentionV2(w, {.width = 6, .heads = 4}), Error);
  EXPECT_THROW(WindowAttentionV2(w, {.width = 6, .heads = 0}), Error);
  EXPECT_THROW(WindowAttentionV2(w, {.width = 6, .heads = 2, .window = {0, 2}}), Error);
}

TEST(Windows3d, TwoFramesOfTwoByThreeByHand) {
  const RowMaps maps = make_window_rows_3d({{2, 2, 3}, {1, 2, 2}});
  EXPECT_EQ(maps.groups, 4);
  EXPECT_EQ(maps.queries, 4);
  EXPECT_EQ(maps.query_rows,
            (std::vector<std::int32_t>{0, 1, 3, 4, 2, -1, 5, -1, 6, 7, 9, 10, 8, -1, 11, -1}));
  EXPECT_EQ(maps.key_rows, maps.query_rows);
  EXPECT_TRUE(maps.query_region.empty());
}

TEST(Windows3d, OneFrameIsTheFlatCase) {
  const RowMaps flat =
      make_window_rows({.rows = 5, .columns = 7, .window = {3, 2}, .shift_rows = 1, .shift_columns = 1});
  const RowMaps video = make_window_rows_3d({{1, 5, 7}, {1, 3, 2}, {0, 1, 1}});
  EXPECT_EQ(video.groups, flat.groups);
  EXPECT_EQ(video.query_rows, flat.query_rows);
  EXPECT_EQ(video.query_region, flat.query_region);
}

// 4 x 4 x 4 in windows of 2 shifted by 1: masked pairs a window, counted from the official mask.
TEST(Windows3d, RegionsOfAShiftedVideo) {
  const RowMaps maps = make_window_rows_3d({{4, 4, 4}, {2, 2, 2}, {1, 1, 1}});
  constexpr int kMasked[8] = {0, 32, 32, 48, 32, 48, 48, 56};
  ASSERT_EQ(maps.groups, 8);
  for (int g = 0; g < 8; ++g) {
    int masked = 0;
    for (int i = 0; i < 8; ++i)
      for (int j = 0; j < 8; ++j)
        masked += maps.query_region[static_cast<std::size_t>(g * 8 + i)] !=
                  maps.key_region[static_cast<std::size_t>(g * 8 + j)];
    EXPECT_EQ(masked, kMasked[g]) << g;
  }
}

TEST(Windows3d, ShortAxesTakeTheWholeAxis) {
  const WindowLayout3d l = fit_windows_3d({2, 6, 3}, {4, 3, 3}, {2, 1, 1});
  EXPECT_EQ(l.window.frames, 2);
  EXPECT_EQ(l.shift.frames, 0);
  EXPECT_EQ(l.window.rows, 3);
  EXPECT_EQ(l.shift.rows, 1);
  EXPECT_EQ(l.shift.columns, 0);
}

TEST(Windows3d, RefusesWhatDoesNotWork) {
  EXPECT_THROW(make_window_rows_3d({{2, 0, 3}, {1, 2, 2}}), Error);
  EXPECT_THROW(make_window_rows_3d({{2, 2, 3}, {1, -2, 2}}), Error);
  EXPECT_THROW(make_window_rows_3d({{2, 2, 3}, {1, 2, 2}, {1, 0, 0}}), Error);
  EXPECT_THROW(make_window_rows_3d({{1 << 15, 1 << 15, 1 << 15}, {1, 1, 1}}), Error);
}

TEST(Windows3d, MapsAreBuiltOnce) {
  const WindowMaps maps;
  const WindowLayout3d l{{2, 5, 7}, {1, 3, 2}, {0, 1, 1}};
  const auto first = maps.rows(l);
  EXPECT_EQ(maps.rows(l), first);
  EXPECT_NE(maps.rows(WindowLayout3d{{2, 5, 7}, {1, 3, 2}, {0, 1, 0}}), first);
  EXPECT_NE(maps.rows(WindowLayout3d{{5, 2, 7}, {1, 3, 2}, {0, 1, 1}}), first);
}

TEST(WindowAttention3d, TheCornerIsTheLeadingTokens) {
  RandomSource source(1);
  const WindowAttention3d layer(Weights(source, WeightMode::train),
                                {.width = 4, .heads = 2, .window = {4, 3, 3}});
  const auto tokens = layer.gather(18), window = layer.gather(Grid{2, 3, 3});
  EXPECT_EQ(tokens->query_code, window->query_code);
  EXPECT_EQ(tokens->key_code, window->key_code);
  EXPECT_THROW(layer.gather(37), Error);
  EXPECT_THROW(layer.gather(0), Error);
  EXPECT_THROW(WindowAttention3d(Weights(source, WeightMode::train), {.width = 5, .heads = 2}), Error);
}

TEST(WindowAttention3d, TheTablesOwnMapIsMadeOnce) {
  RandomSource source(1);
  const WindowAttention3d layer(Weights(source, WeightMode::train),
                                {.width = 4, .heads = 2, .window = {2, 3, 3}});
  EXPECT_EQ(layer.gather(Grid{2, 3, 3}), layer.gather(Grid{2, 3, 3}));
  EXPECT_NE(layer.gather(Grid{1, 3, 3}), layer.gather(Grid{2, 3, 3}));
}

TEST(VideoSwinBlock, RefusesAnotherGrid) {
  RandomSource source(1);
  const VideoSwinBlock block(Weights(source, WeightMode::train),
                             {.width = 4, .heads = 2, .window = {2, 2, 2}});
  const Var x(random_tensor({1, 12, 4}, 1));
  EXPECT_EQ(block({}, x, {3, 2, 2}).shape(), x.shape());
  EXPECT_THROW(block({}, x, {2, 2, 2}), Error);
}

}  // namespace window_attention_test
}  // namespace locant
