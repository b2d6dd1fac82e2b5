#include "nn/augmented_conv.h"

#include <gtest/gtest.h>

#include "tests/nn/sine_source.h"

namespace locant {
namespace augmented_conv_test {

AugmentedConv::Options golden_options() {
  AugmentedConv::Options options;
  options.in = 2, options.out = 6, options.dk = options.dv = 4, options.heads = 2;
  options.rows = options.columns = 2;
  return options;
}

Tensor run(const AugmentedConv::Options& options) {
  testing::SineSource source({"conv_out.weight", "conv_out.bias", "qkv_conv.weight", "qkv_conv.bias",
                              "attn_out.weight", "attn_out.bias", "key_rel_w", "key_rel_h"});
  const Weights w(source, WeightMode::train);
  const AugmentedConv layer(w, options);
  return layer({}, Var(testing::golden_input({1, 2, 2, 2}))).value();
}

void expect_channels(const Tensor& got, std::int64_t first, const std::vector<double>& want) {
  for (std::size_t k = 0; k < want.size(); ++k)
    EXPECT_NEAR(got[4 * first + static_cast<std::int64_t>(k)], want[k], 3e-6)
        << "channel " << first << " + " << k / 4;
}

TEST(AugmentedConv, GoldenOfTheRepository) {
  const Tensor got = run(golden_options());
  ASSERT_EQ(got.shape(), (Shape{1, 6, 2, 2}));
  expect_channels(got, 0,
                  {-0.551029, -0.711809, 0.915123,  0.319376,  -0.025921, 1.022357,  0.392160, -0.363075,
                   -0.383637, -0.133914, -0.470704, -0.254671, 0.867647,  0.608403,  0.715537, 0.317123,
                   1.000890,  0.508247,  0.945425,  0.356065,  0.061862,  -0.140517, 0.162000, 0.008164});
}

TEST(AugmentedConv, GoldenOfThePapersMaps) {
  AugmentedConv::Options options = golden_options();
  options.maps = AugmentedConv::Maps::transposed;
  expect_channels(run(options), 2,
                  {-0.087690, 0.103581, -0.187420, -0.297587, 0.982777, 0.883097, 0.841555, 0.813034,
                   0.812824, 0.528150, 0.780225, 0.863666, -0.229493, -0.396562, -0.118817, -0.012108});
}

TEST(AugmentedConv, RefusesWhatDoesNotFit) {
  RandomSource source(1);
  const Weights w(source, WeightMode::train);
  const auto make = [&](std::int64_t AugmentedConv::Options::*member, std::int64_t value) {
    AugmentedConv::Options options = golden_options();
    options.*member = value;
    return AugmentedConv(w, options);
  };
  EXPECT_THROW(make(&AugmentedConv::Options::heads, 3), Error);
  EXPECT_THROW(make(&AugmentedConv::Options::heads, 0), Error);
  EXPECT_THROW(make(&AugmentedConv::Options::dv, 6), Error);
  EXPECT_THROW(make(&AugmentedConv::Options::rows, 0), Error);
  EXPECT_THROW(make(&AugmentedConv::Options::stride, 0), Error);
  const AugmentedConv layer(w, golden_options());
  EXPECT_THROW(layer({}, Var(Tensor::zeros({1, 2, 3, 2}))), Error);  // tables are for 2 x 2
}

}  // namespace augmented_conv_test
}  // namespace locant
