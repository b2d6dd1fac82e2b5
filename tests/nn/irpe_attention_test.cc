#include "nn/irpe_attention.h"

#include "core/error.h"
#include "tests/nn/sine_source.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace irpe_attention_test {

using testing::golden_input;
using testing::SineSource;

IrpeOptions small() { return {.width = 4, .heads = 2, .on = "qkv", .skip = 1}; }
IrpeMaps maps_of(const IrpeOptions& o, std::int64_t rows, std::int64_t columns) {
  return irpe_maps(o.form, {rows, columns, o.skip});
}

// The spec's golden layer: product 1.9, contextual, shared, on q, k and v, a class token before 2 x 2.
TEST(IrpeAttention, GoldenOfTheSpec) {
  constexpr double kWant[20] = {-0.221988, 0.828544,  0.797430,  -0.129419, -0.271645, 0.810891,  0.830545,
                                -0.080736, -0.265280, 0.787571,  0.802329,  -0.083856, -0.362416, 0.806309,
                                0.917022,  0.004878,  -0.253110, 0.857769,  0.855936,  -0.103822};
  SineSource source({"qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "rpe_q.lookup_table_weight",
                     "rpe_k.lookup_table_weight", "rpe_v.lookup_table_weight"});
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    const IrpeAttention layer(Weights(source, mode), small());
    const Tensor out = layer({}, Var(golden_input({1, 5, 4})), maps_of(small(), 2, 2)).value();
    for (std::int64_t x = 0; x < 20; ++x) EXPECT_NEAR(out[x], kWant[x], 2e-6) << x;
  }
}

// The official start: tables of zeros, so that nothing of the position acts.
TEST(IrpeAttention, TablesStartAtZero) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  const IrpeAttention layer(w, small());
  std::size_t tables = 0;
  for (const Parameter& parameter : w.parameters())
    if (parameter.name.find("lookup_table") != std::string::npos) {
      ++tables;
      for (const float x : parameter.value.value().values()) EXPECT_EQ(x, 0.0f);
    }
  EXPECT_EQ(tables, 3u);
}

// Without padding, DETR's layer on one input is DeiT's without a class token.
TEST(IrpeAttention, DetrLayerIsTheSameAttention) {
  SineSource one({"qkv.weight", "qkv.bias", "proj.weight", "proj.bias", "rpe_q.lookup_table_weight",
                  "rpe_k.lookup_table_weight", "rpe_v.lookup_table_weight"});
  SineSource other({"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias",
                    "rpe_q.lookup_table_weight", "rpe_k.lookup_table_weight", "rpe_v.lookup_table_weight"});
  IrpeOptions options = small();
  options.skip = 0;
  const IrpeMaps maps = maps_of(options, 2, 3);
  const IrpeAttention deit(Weights(one, WeightMode::train), options);
  const IrpeDetrAttention detr(Weights(other, WeightMode::train), options);
  const Var x(golden_input({2, 6, 4}));
  testing::expect_close(detr({}, x, x, x, &maps).value(), testing::to_double(deit({}, x, maps).value()), 1e-6,
                        "out");
}

TEST(IrpeAttention, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  IrpeOptions options = small();
  const IrpeMaps maps = maps_of(options, 2, 2);
  const Var x(Tensor::zeros({1, 6, 4}));
  EXPECT_THROW(IrpeAttention(w, options)({}, x, maps), Error);
  EXPECT_THROW(IrpeDetrAttention(w, options)({}, x, x, x, nullptr), Error);
  options.heads = 3;
  EXPECT_THROW(IrpeAttention(w, options), Error);
  options = small(), options.on = "qx";
  EXPECT_THROW(IrpeAttention(w, options), Error);
  options = small(), options.form.mode = IrpeMode::bias;
  EXPECT_THROW(IrpeAttention(w, options), Error);
}

}  // namespace irpe_attention_test
}  // namespace locant
