#include "nn/sasa.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sasa_test {

using Named = std::map<std::string, Tensor>;

Named named(const Weights& w) {
  Named out;
  for (const Parameter& p : w.parameters()) out[p.name] = p.value.value();
  return out;
}

// Channel c of a 1x1 convolution at a place of images (1, in, H, W), zeros outside.
double pointwise(const Named& t, const std::string& name, const Tensor& x, std::int64_t c, std::int64_t y,
                 std::int64_t column) {
  const Tensor& weight = t.at(name + ".weight");
  double sum = t.count(name + ".bias") != 0 ? t.at(name + ".bias")[c] : 0.0;
  const std::int64_t in = x.dim(1), H = x.dim(2), W = x.dim(3);
  if (y < 0 || column < 0 || y >= H || column >= W) return sum;
  for (std::int64_t i = 0; i < in; ++i) sum += double(weight[c * in + i]) * x[(i * H + y) * W + column];
  return sum;
}

// The port's layer, number by number: softmax over the window for each channel.
std::vector<double> plain(const Named& t, const Tensor& x, const SasaOptions& o) {
  std::vector<double> out;
  const std::int64_t H = x.dim(2), W = x.dim(3), k = o.kernel;
  for (std::int64_t c = 0; c < o.out; ++c)
    for (std::int64_t y = 0; y < H; ++y)
      for (std::int64_t column = 0; column < W; ++column) {
        const double q = pointwise(t, "query_conv", x, c, y, column);
        double total = 0, sum = 0;
        for (std::int64_t a = 0; a < k; ++a)
          for (std::int64_t b = 0; b < k; ++b) {
            const std::int64_t row = y + a - o.pad, at = column + b - o.pad;
            const double position =
                c < o.out / 2 ? t.at("rel_h")[c * k + a] : t.at("rel_w")[(c - o.out / 2) * k + b];
            const double p = std::exp(q * (pointwise(t, "key_conv", x, c, row, at) + position));
            total += p;
            sum += p * pointwise(t, "value_conv", x, c, row, at);
          }
        out.push_back(sum / total);
      }
  return out;
}

// With a bias keys and values outside are the bias; 9 x 3 places take two blocks.
TEST(SasaConv, IsThePortsFormulaWithAndWithoutBias) {
  for (const bool bias : {false, true}) {
    RandomSource source(1);
    const Weights w(source, WeightMode::train);
    const SasaOptions options{3, 4, 3, 1, 1, bias};
    const SasaConv layer(w, options);
    const Tensor x = testing::random_tensor({1, 3, 9, 3}, 2);
    testing::expect_close(layer({}, Var(x)).value(), plain(named(w), x, options), 5e-6, "result");
    // Another size afterwards, and the first again.
    const Tensor small = testing::random_tensor({1, 3, 2, 2}, 3);
    testing::expect_close(layer({}, Var(small)).value(), plain(named(w), small, options), 5e-6, "result");
    testing::expect_close(layer({}, Var(x)).value(), plain(named(w), x, options), 5e-6, "result");
  }
}

// One value matrix has all the weight, wherever the place: what remains is attention without position.
TEST(SasaStem, OneMixtureIsPlainAttention) {
  RandomSource source(4);
  const Weights w(source, WeightMode::train);
  const SasaOptions options{3, 4, 4, 2, 2, false};
  const SasaStem layer(w, options, 1);
  Named t = named(w);
  t["value_conv.weight"] = t.at("value_conv.0.weight");
  t["rel_h"] = t["rel_w"] = Tensor::zeros({2, 4});
  const Tensor x = testing::random_tensor({1, 3, 5, 4}, 2);
  testing::expect_close(layer({}, Var(x)).value(), plain(t, x, options), 5e-6, "result");
}

TEST(SasaLayers, RefuseWhatDoesNotFit) {
  RandomSource source(5);
  const Weights w(source, WeightMode::train);
  EXPECT_THROW(SasaConv(w, {3, 5, 3, 1, 1, false}), Error);
  EXPECT_THROW(SasaConv(w, {3, 4, 3, 2, 1, false}), Error);
  EXPECT_THROW(SasaConv(w, {3, 4, 4, 2, 1, false}), Error);
  EXPECT_THROW(SasaConv(w, {3, 4, 0, 0, 1, false}), Error);
  EXPECT_THROW(SasaConv(w, {3, 4, 3, 1, 3, false}), Error);
  EXPECT_THROW(SasaStem(w, {3, 4, 4, 1, 1, false}, 2), Error);
  EXPECT_THROW(SasaStem(w, {3, 4, 4, 2, 1, true}, 2), Error);
  EXPECT_THROW(SasaStem(w, {3, 4, 4, 2, 1, false}, 0), Error);
}

}  // namespace sasa_test
}  // namespace locant
