// Layers that inference packs, their batch norms folded, beside the same ones as they train.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "nn/axial_attention.h"
#include "nn/botnet.h"
#include "nn/conformer.h"
#include "nn/conv_norm.h"
#include "nn/leff.h"
#include "nn/locality_ff.h"
#include "nn/peg.h"
#include "nn/spatial_reduction_attention.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace packed_layers_test {

using testing::random_tensor;

// Numbers of each tensor by its name; variances are positive.
class AnySource final : public WeightSource {
 public:
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    std::uint64_t seed = 7;
    for (const char c : name) seed = (seed * 31 + static_cast<unsigned char>(c)) % 100003;
    Tensor out = random_tensor(shape, seed);
    const bool variance = name.ends_with("running_var");
    for (float& x : out.values()) x = variance ? std::abs(x) + 0.5f : 0.5f * x;
    return out;
  }
};

std::vector<std::pair<std::string, std::string>> listed(const Weights& w) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const Parameter& p : w.parameters()) out.emplace_back(p.name, p.shape.str());
  std::sort(out.begin(), out.end());
  return out;
}

// call(layer, x) of make(weights) in both modes.
template <class Make, class Call>
void expect_same(const std::string& what, const Tensor& x, const Make& make, const Call& call) {
  SCOPED_TRACE(what);
  AnySource source;
  const Weights train(source, WeightMode::train), packed(source, WeightMode::inference);
  const auto plain = make(train), fast = make(packed);
  const Tensor want = call(plain, Var(x)).value(), got = call(fast, Var(x)).value();
  ASSERT_EQ(got.shape(), want.shape());
  float largest = 0.0f, worst = 0.0f;
  for (std::int64_t i = 0; i < want.numel(); ++i) {
    largest = std::max(largest, std::abs(want[i]));
    worst = std::max(worst, std::abs(got[i] - want[i]));
  }
  EXPECT_LE(worst, 5e-6f * std::max(largest, 1.0f));
  EXPECT_GT(largest, 0.1f);
  EXPECT_EQ(listed(packed), listed(train));
}

TEST(PackedLayers, Leff) {
  for (const bool norm : {false, true})
    for (const std::int64_t prefix : {0, 1})
      expect_same(
          "leff", random_tensor({2, prefix + 5 * 6, 12}, 1),
          [&](const Weights& w) {
            return LeffLayer(w / "leff", {.width = 12, .hidden = 20, .kernel = 3, .batch_norm = norm});
          },
          [&](const LeffLayer& layer, const Var& x) {
            return layer({}, x, {1, 5, 6}, prefix);
          });
}

TEST(PackedLayers, LocalityFf) {
  for (const FfGate gate : {FfGate::none, FfGate::squeeze_excite, FfGate::eca, FfGate::eca_hard})
    for (const FfActivation act : {FfActivation::relu6, FfActivation::hard_swish}) {
      const auto make = [&](const Weights& w) {
        return LocalityFfLayer(w, {.in = 12, .out = 12, .expand_ratio = 2, .act = act, .gate = gate});
      };
      expect_same("images", random_tensor({2, 12, 5, 6}, 1), make,
                  [](const LocalityFfLayer& layer, const Var& x) { return layer({}, x); });
      expect_same("tokens", random_tensor({2, 1 + 5 * 6, 12}, 2), make,
                  [](const LocalityFfLayer& layer, const Var& x) {
                    return layer({}, x, {1, 5, 6}, 1);
                  });
    }
  expect_same(
      "strided", random_tensor({2, 8, 5, 6}, 1),
      [](const Weights& w) {
        return LocalityFfLayer(w, {.in = 8, .out = 10, .kernel = 5, .stride = 2, .residual = false});
      },
      [](const LocalityFfLayer& layer, const Var& x) { return layer({}, x); });
}

TEST(PackedLayers, Peg) {
  for (const bool residual : {false, true})
    for (const std::int64_t stride : {1, 2}) {
      if (residual && stride > 1) continue;
      expect_same(
          "peg", random_tensor({2, 1 + 5 * 6, 12}, 1),
          [&](const Weights& w) {
            return PegLayer(w, {.width = 12, .kernel = 3, .stride = stride, .residual = residual});
          },
          [](const PegLayer& layer, const Var& x) {
            return layer({}, x, {1, 5, 6}, 1);
          });
    }
}

TEST(PackedLayers, SpatialReduction) {
  struct Reduction {
    std::int64_t ratio, pool;
  };
  for (const Reduction& r : {Reduction{2, 0}, {3, 0}, {1, 3}})
    expect_same(
        "sr", random_tensor({2, 7 * 8, 12}, 1),
        [&](const Weights& w) {
          return SpatialReductionAttention(w, {.width = 12, .heads = 2, .ratio = r.ratio, .pool = r.pool});
        },
        [](const SpatialReductionAttention& layer, const Var& x) {
          return layer({}, x, {1, 7, 8});
        });
}

TEST(PackedLayers, ConvNorm) {
  expect_same(
      "images", random_tensor({2, 8, 5, 6}, 1),
      [](const Weights& w) { return ConvNorm(w, 8, 10, {.kernel = 3, .stride = 2, .pad = 1}); },
      [](const ConvNorm& layer, const Var& x) { return layer({}, x); });
  for (const std::int64_t groups : {1, 4, 12})
    expect_same(
        "tokens", random_tensor({2, 5 * 6, 12}, 1),
        [&](const Weights& w) { return ConvNorm(w, 12, 12, {.kernel = 3, .pad = 1, .groups = groups}); },
        [](const ConvNorm& layer, const Var& x) {
          return layer.of_tokens({}, "test", x, {1, 5, 6});
        });
}

TEST(PackedLayers, ConformerConvModule) {
  for (const bool bias : {false, true}) {
    ConformerOptions options;
    options.width = 12;
    options.kernel = 5;
    options.depthwise_bias = bias;
    expect_same(
        "conformer", random_tensor({2, 9, 12}, 1),
        [&](const Weights& w) { return ConformerConvModule(w, options); },
        [](const ConformerConvModule& layer, const Var& x) { return layer({}, x); });
  }
}

TEST(PackedLayers, Blocks) {
  expect_same(
      "axial", random_tensor({2, 12, 6, 4}, 1),
      [](const Weights& w) {
        return AxialBlock(w,
                          {.in = 12, .planes = 16, .groups = 2, .span = 6, .stride = 2, .downsample = true});
      },
      [](const AxialBlock& layer, const Var& x) { return layer({}, x); });
  for (const bool downsample : {false, true})
    expect_same(
        "botnet", random_tensor({2, 12, 4, 6}, 1),
        [&](const Weights& w) {
          return BotnetBlock(w, {.in = 12,
                                 .out = 16,
                                 .heads = 2,
                                 .head_width = 4,
                                 .rows = 4,
                                 .columns = 6,
                                 .downsample = downsample});
        },
        [](const BotnetBlock& layer, const Var& x) { return layer({}, x); });
}

}  // namespace packed_layers_test
}  // namespace locant
