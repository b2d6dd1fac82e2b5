#include "ops/norm.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/row_ops_reference.h"
#include "ops/softmax.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace norm_test {

using testing::expect_op;
using testing::random_tensor;

TEST(LayerNorm, ResultAndGradients) {
  for (const Shape& shape : {Shape{1, 3}, {5, 7}, {2, 3, 33}, {150, 4}}) {
    const std::int64_t width = shape[-1];
    const float eps = 0.05f;
    expect_op(
        "layer_norm", {random_tensor(shape, 1), random_tensor({width}, 2), random_tensor({width}, 3)},
        [=](const Context& ctx, const auto& v) { return layer_norm(ctx, v[0], v[1], v[2], eps); },
        [=](const auto& in) {
          auto y = in[0];
          using T = typename std::decay_t<decltype(y)>::value_type;
          const std::int64_t rows = static_cast<std::int64_t>(y.size()) / width;
          reference::layer_norm<T>(in[0].data(), rows, width, in[1].data(), in[2].data(), eps, y.data(),
                                   nullptr, nullptr);
          return y;
        },
        testing::Derivative::complex_step, 5e-6);
  }
}

TEST(LayerNorm, LargeMeanKeepsItsDigits) {
  Tensor x = random_tensor({1, 256}, 1);
  for (float& v : x.values()) v += 100.0f;
  const Tensor y =
      layer_norm_forward(x, Tensor::full({256}, 1.0f), Tensor::zeros({256}), 1e-6f, nullptr, nullptr);
  std::vector<double> want = testing::to_double(x);
  double mean = 0, var = 0;
  for (const double v : want) mean += v / 256;
  for (const double v : want) var += (v - mean) * (v - mean) / 256;
  for (double& v : want) v = (v - mean) / std::sqrt(var + 1e-6);
  testing::expect_close(y, want, 3e-5, "y");
}

TEST(LayerNorm, WeightGradientsDoNotDependOnThreads) {
  const int before = num_threads();
  const Tensor x = random_tensor({1000, 24}, 1), dy = random_tensor({1000, 24}, 2),
               weight = random_tensor({24}, 3);
  Tensor mean, rstd, first[3];
  layer_norm_forward(x, weight, weight, 1e-5f, &mean, &rstd);
  for (const int threads : {1, 2, 3, 5}) {
    set_num_threads(threads);
    Tensor got[3];
    layer_norm_backward(x, weight, mean, rstd, dy, &got[0], &got[1], &got[2]);
    for (int i = 0; i < 3; ++i) {
      if (threads == 1) first[i] = got[i];
      EXPECT_TRUE(std::equal(got[i].values().begin(), got[i].values().end(), first[i].values().begin()));
    }
  }
  set_num_threads(before);
}

TEST(LayerNorm, WrongShapesAreErrors) {
  const Tensor x({2, 5}), width({5});
  EXPECT_THROW(layer_norm_forward(x, Tensor({4}), width, 1e-5f, nullptr, nullptr), Error);
  EXPECT_THROW(layer_norm_forward(x, width, Tensor({2, 5}), 1e-5f, nullptr, nullptr), Error);
  EXPECT_THROW(layer_norm_forward(x, width, Tensor(), 1e-5f, nullptr, nullptr), Error);
  EXPECT_THROW(layer_norm_backward(x, width, Tensor({1}), Tensor({2}), x, nullptr, nullptr, nullptr), Error);
}

TEST(RmsNorm, ResultAndGradients) {
  for (const Shape& shape : {Shape{1, 3}, {5, 7}, {2, 3, 33}, {150, 4}}) {
    const std::int64_t width = shape[-1];
    const float eps = 0.05f;
    expect_op(
        "rms_norm", {random_tensor(shape, 1), random_tensor({width}, 2)},
        [=](const Context& ctx, const auto& v) { return rms_norm(ctx, v[0], v[1], eps); },
        [=](const auto& in) {
          auto y = in[0];
          for (std::size_t r = 0; r < y.size(); r += static_cast<std::size_t>(width)) {
            auto squares = y[0] * 0.0;
            for (std::size_t i = 0; i < static_cast<std::size_t>(width); ++i)
              squares += in[0][r + i] * in[0][r + i];
            for (std::size_t i = 0; i < static_cast<std::size_t>(width); ++i)
              y[r + i] *=
                  in[1][i] / std::sqrt(squares / static_cast<double>(width) + static_cast<double>(eps));
          }
          return y;
        });
  }
  EXPECT_THROW(rms_norm({}, Var(Tensor({2, 5})), Var(Tensor({4})), 1e-6f), Error);
}

TEST(LogSoftmax, ResultAndGradients) {
  for (const Shape& shape : {Shape{1}, {3, 1}, {2, 3, 17}, {5, 49}})
    expect_op(
        "log_softmax", {random_tensor(shape, 1, 3.0f)},
        [](const Context& ctx, const auto& v) { return log_softmax(ctx, v[0]); },
        [&](const auto& in) {
          auto y = in[0];
          const auto width = static_cast<std::size_t>(shape[-1]);
          for (std::size_t r = 0; r < y.size(); r += width) {
            auto sum = y[0] * 0.0;
            for (std::size_t i = 0; i < width; ++i) sum += std::exp(in[0][r + i]);
            for (std::size_t i = 0; i < width; ++i) y[r + i] -= std::log(sum);
          }
          return y;
        });
  const Tensor far = log_softmax({}, Var(Tensor::full({4}, 300.0f))).value();
  EXPECT_FLOAT_EQ(far[0], -std::log(4.0f));
}

TEST(Softmax, ResultAndGradients) {
  for (const Shape& shape : {Shape{1}, {3, 1}, {2, 3, 17}, {5, 49}})
    expect_op(
        "softmax", {random_tensor(shape, 1, 3.0f)},
        [](const Context& ctx, const auto& v) { return softmax(ctx, v[0]); },
        [&](const auto& in) {
          auto y = in[0];
          const std::int64_t width = shape[-1];
          reference::softmax(in[0].data(), static_cast<std::int64_t>(y.size()) / width, width, y.data());
          return y;
        });
}

TEST(Softmax, FullyMaskedRowGivesZero) {
  Tensor x = Tensor::full({2, 3}, -HUGE_VALF);
  x[3] = 0.0f;
  const Tensor y = softmax_forward(x);
  EXPECT_EQ(y[0] + y[1] + y[2], 0.0f);
  EXPECT_EQ(y[3], 1.0f);
}

TEST(Softmax, WrongShapesAreErrors) { EXPECT_THROW(softmax_backward(Tensor({2, 3}), Tensor({3, 2})), Error); }

}  // namespace norm_test
}  // namespace locant
