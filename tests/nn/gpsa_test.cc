#include "nn/gpsa.h"

#include "core/error.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace gpsa_test {

using testing::golden_input;
using testing::SineSource;

// The spec's golden layer on 2 x 2 tokens.
TEST(GpsaAttention, GoldenOfTheSpec) {
  constexpr double kWant[16] = {0.150414, 0.493926,  0.113069, -0.416344, 0.162741, 0.518021,
                                0.123319, -0.430834, 0.200535, 0.484061,  0.053704, -0.462106,
                                0.199017, 0.456359,  0.029264, -0.457305};
  SineSource source({"gating_param", "qk.weight", "v.weight", "proj.weight", "proj.bias", "pos_proj.weight",
                     "pos_proj.bias"});
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const GpsaAttention layer(Weights(source, mode), {.width = 4, .heads = 2, .rows = 2, .columns = 2});
    const Tensor out = layer({}, Var(golden_input({1, 4, 4}))).value();
    for (std::int64_t x = 0; x < 16; ++x) EXPECT_NEAR(out[x], kWant[x], 2e-6) << x;
  }
}

TEST(GpsaAttention, LocalStart) {
  RandomSource source(1);
  const Weights root(source, WeightMode::train);
  const GpsaAttention::Options options{.width = 8, .heads = 4, .rows = 3, .columns = 3};
  const GpsaAttention layer(root / "attn", options);
  GpsaAttention::start_locally(root / "attn", 2.0);
  for (const Parameter& p : root.parameters()) {
    const Tensor& x = p.value.value();
    if (p.name == "attn.v.weight") {
      for (std::int64_t i = 0; i < 64; ++i) EXPECT_EQ(x[i], i / 8 == i % 8 ? 1.0f : 0.0f);
    }
    if (p.name == "attn.gating_param") {
      for (const float gate : x.values()) EXPECT_EQ(gate, 1.0f);
    }
    if (p.name == "attn.pos_proj.weight") {
      EXPECT_EQ(x[0], -2.0f);
      EXPECT_EQ(x[4], 2.0f);
      EXPECT_EQ(x[5], -2.0f);
    }
  }
  // A stronger start looks less far.
  const Var x(golden_input({1, 9, 8}));
  const Tensor near = layer.attention_distance(x);
  GpsaAttention::start_locally(root / "attn", -2.0);
  const Tensor far = layer.attention_distance(x);
  for (std::int64_t h = 0; h < 4; ++h) EXPECT_LT(near[h], far[h]);
  EXPECT_THROW(GpsaAttention::start_locally(root / "other"), Error);
}

TEST(GpsaAttention, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(GpsaAttention(w, {.width = 8, .heads = 3}), Error);
  EXPECT_THROW(GpsaAttention(w, {.width = 8, .heads = 2, .rows = 0}), Error);
  const GpsaAttention layer(w, {.width = 8, .heads = 2, .rows = 2, .columns = 3});
  // A probe that wants the pairs must not make them of tokens that are not there.
  struct Dense final : Probe {
    void see(const std::string&, const Var&) override {}
    bool dense() const override { return true; }
  } probe;
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 5, 8}))), Error);
  EXPECT_THROW(layer({.probe = &probe}, Var(Tensor::zeros({1, 5, 8}))), Error);
}

}  // namespace gpsa_test
}  // namespace locant
