#include "nn/layers.h"

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace layers_test {

using testing::random_tensor;

std::vector<std::string> names(const Weights& w) {
  std::vector<std::string> out;
  for (const Parameter& parameter : w.parameters())
    out.push_back(parameter.name + " " + parameter.shape.str());
  return out;
}

TEST(Layers, ListTheirTensorsWithoutNumbers) {
  ShapeSource source;
  const Weights w(source, WeightMode::shapes);
  const Linear linear(w / "proj", 3, 5, {.bias = false});
  const LayerNorm norm(w / "norm", 5, 1e-5f);
  const PatchEmbed patches(w / "patch_embed" / "proj", 3, 4, 2, 8);
  const Mlp mlp(w / "mlp", 8, 32);
  EXPECT_EQ(names(w),
            (std::vector<std::string>{"proj.weight (5, 3)", "norm.weight (5)", "norm.bias (5)",
                                      "patch_embed.proj.weight (8, 3, 4, 2)", "patch_embed.proj.bias (8)",
                                      "mlp.fc1.weight (32, 8)", "mlp.fc1.bias (32)", "mlp.fc2.weight (8, 32)",
                                      "mlp.fc2.bias (8)"}));
}

/// Convolution whose stride is its kernel, plainly: (B, N, out).
std::vector<double> convolved(const Tensor& images, const Tensor& weight, const Tensor& bias) {
  const std::int64_t B = images.dim(0), C = images.dim(1), H = images.dim(2), W = images.dim(3);
  const std::int64_t out = weight.dim(0), ph = weight.dim(2), pw = weight.dim(3);
  std::vector<double> y;
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t r = 0; r < H / ph; ++r)
      for (std::int64_t c = 0; c < W / pw; ++c)
        for (std::int64_t o = 0; o < out; ++o) {
          double sum = bias[o];
          for (std::int64_t i = 0; i < C; ++i)
            for (std::int64_t u = 0; u < ph; ++u)
              for (std::int64_t v = 0; v < pw; ++v)
                sum += static_cast<double>(weight[((o * C + i) * ph + u) * pw + v]) *
                       images[((b * C + i) * H + r * ph + u) * W + c * pw + v];
          y.push_back(sum);
        }
  return y;
}

TEST(PatchEmbed, IsAConvolutionInBothModes) {
  const Tensor images = random_tensor({2, 3, 9, 8}, 1);  // one row of pixels left over
  for (const WeightMode mode : {WeightMode::train, WeightMode::inference}) {
    RandomSource source(5);
    const Weights w(source, mode);
    const PatchEmbed layer(w, 3, 4, 2, 7);
    const Tensor weight = RandomSource(5).get("weight", {7, 3, 4, 2}, Init::fan_in(24));
    const Tensor bias = RandomSource(5).get("bias", {7}, Init::fan_in(24));
    const Var y = layer(Context{}, Var(images));
    ASSERT_EQ(y.shape(), (Shape{2, 8, 7}));
    testing::expect_close(y.value(), convolved(images, weight, bias), 1e-5, "patches");
  }
}

TEST(PatchEmbed, GradientsReachTheFourDimensionalWeight) {
  RandomSource source(6);
  const Weights w(source, WeightMode::train);
  const PatchEmbed layer(w, 2, 2, 3, 4);
  const Tensor images = random_tensor({1, 2, 4, 6}, 2), cotangent = random_tensor({1, 4, 4}, 3);
  Tape tape;
  const Var x(images.clone(), true);
  tape.backward({{layer(Context{.tape = &tape}, x), cotangent.clone()}});
  const Var weight = w.parameters()[0].value, bias = w.parameters()[1].value;
  ASSERT_EQ(weight.grad().shape(), weight.shape());
  // The layer is linear in each of its inputs: differences of the plain convolution are exact.
  const auto loss = [&](const Tensor& i, const Tensor& k, const Tensor& b) {
    const std::vector<double> y = convolved(i, k, b);
    double sum = 0;
    for (std::size_t n = 0; n < y.size(); ++n) sum += y[n] * cotangent[static_cast<std::int64_t>(n)];
    return sum;
  };
  const auto gradient = [&](const Tensor& at, const std::function<double(const Tensor&)>& f) {
    std::vector<double> out;
    const double base = f(at);
    for (std::int64_t i = 0; i < at.numel(); ++i) {
      Tensor moved = at.clone();
      moved[i] += 1.0f;
      out.push_back((f(moved) - base) / (static_cast<double>(moved[i]) - at[i]));
    }
    return out;
  };
  testing::expect_close(
      weight.grad(), gradient(weight.value(), [&](const Tensor& k) { return loss(images, k, bias.value()); }),
      1e-5, "d weight");
  testing::expect_close(
      x.grad(), gradient(images, [&](const Tensor& i) { return loss(i, weight.value(), bias.value()); }),
      1e-5, "d images");
}

TEST(PatchEmbed, RefusesImagesThatDoNotFit) {
  RandomSource source(1);
  const PatchEmbed layer(Weights(source, WeightMode::inference), 3, 4, 4, 8);
  EXPECT_THROW(layer(Context{}, Var(Tensor::zeros({1, 1, 8, 8}))), Error);
  EXPECT_THROW(layer(Context{}, Var(Tensor::zeros({1, 3, 3, 8}))), Error);
  EXPECT_THROW(layer(Context{}, Var(Tensor::zeros({3, 8, 8}))), Error);
  EXPECT_THROW(PatchEmbed(Weights(source, WeightMode::inference), 3, 0, 4, 8), Error);
}

TEST(PadToPatches, AddsZerosAndDropsTheirGradient) {
  const Tensor images = random_tensor({2, 2, 3, 5}, 4);
  Tape tape;
  const Context ctx{.tape = &tape};
  const Var x(images.clone(), true);
  const Var padded = pad_to_patches(ctx, x, 4, 4);
  ASSERT_EQ(padded.shape(), (Shape{2, 2, 4, 8}));
  for (std::int64_t p = 0; p < 4; ++p)
    for (std::int64_t r = 0; r < 4; ++r)
      for (std::int64_t c = 0; c < 8; ++c)
        EXPECT_EQ(padded.value()[(p * 4 + r) * 8 + c], r < 3 && c < 5 ? images[(p * 3 + r) * 5 + c] : 0.0f);
  const Tensor cotangent = random_tensor(padded.shape(), 5);
  tape.backward({{padded, cotangent.clone()}});
  for (std::int64_t p = 0; p < 4; ++p)
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t c = 0; c < 5; ++c)
        EXPECT_EQ(x.grad()[(p * 3 + r) * 5 + c], cotangent[(p * 4 + r) * 8 + c]);
  EXPECT_EQ(pad_to_patches(ctx, x, 3, 5).value().data(), x.value().data());
}

TEST(Mlp, TrainingAndInferenceAgreeWithTheFormula) {
  const Tensor x = random_tensor({2, 3, 6}, 7), residual = random_tensor({2, 3, 6}, 8);
  RandomSource train_source(9), packed_source(9);
  const Weights train_weights(train_source, WeightMode::train);
  const Mlp train(train_weights, 6, 10);
  const Mlp packed(Weights(packed_source, WeightMode::inference), 6, 10);
  const auto& p = train_weights.parameters();
  std::vector<double> want;
  for (std::int64_t n = 0; n < 6; ++n)
    for (std::int64_t o = 0; o < 6; ++o) {
      double y = p[3].value.value()[o] + static_cast<double>(residual[n * 6 + o]);
      for (std::int64_t h = 0; h < 10; ++h) {
        double u = p[1].value.value()[h];
        for (std::int64_t i = 0; i < 6; ++i)
          u += static_cast<double>(p[0].value.value()[h * 6 + i]) * x[n * 6 + i];
        y += static_cast<double>(p[2].value.value()[o * 10 + h]) * 0.5 * u *
             (1 + std::erf(u / std::sqrt(2.0)));
      }
      want.push_back(y);
    }
  testing::expect_close(train(Context{}, Var(x), Var(residual)).value(), want, 1e-5, "training");
  testing::expect_close(packed(Context{}, Var(x), Var(residual)).value(), want, 1e-5, "inference");
}

TEST(Linear, RefusesAWeightShapeOfAnotherSize) {
  RandomSource source(1);
  const Weights w(source, WeightMode::inference);
  EXPECT_THROW(Linear(w, 4, 4, {.weight_shape = {4, 5}}), Error);
}

}  // namespace layers_test
}  // namespace locant
