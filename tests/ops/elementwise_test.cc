#include "ops/elementwise.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/row_ops_reference.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace elementwise_test {

using testing::expect_op;
using testing::random_tensor;

TEST(Add, EqualShapesAndTrailingRows) {
  const auto op = [](const Context& ctx, const auto& v) { return add(ctx, v[0], v[1]); };
  const auto reference = [](const auto& in) {
    auto y = in[0];
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += in[1][i % in[1].size()];
    return y;
  };
  expect_op("equal", {random_tensor({3, 5}, 1), random_tensor({3, 5}, 2)}, op, reference);
  expect_op("row", {random_tensor({4, 3, 5}, 1), random_tensor({5}, 2)}, op, reference);
  expect_op("table", {random_tensor({4, 3, 5}, 1), random_tensor({3, 5}, 2)}, op, reference);
  expect_op("table with batch 1", {random_tensor({4, 3, 5}, 1), random_tensor({1, 3, 5}, 2)}, op, reference);
  expect_op("many rows", {random_tensor({200, 3}, 1), random_tensor({3}, 2)}, op, reference);
}

TEST(Add, SameValueTwiceGetsBothGradients) {
  Tape tape;
  const Var x(random_tensor({4}, 1), true);
  const Var y = add({.tape = &tape}, x, x);
  tape.backward({{y, Tensor::full({4}, 3.0f)}});
  EXPECT_FLOAT_EQ(x.grad()[2], 6.0f);
}

TEST(Add, WrongShapesAreErrors) {
  EXPECT_THROW(add({}, Var(Tensor({2, 3})), Var(Tensor({2}))), Error);
  EXPECT_THROW(add({}, Var(Tensor({3})), Var(Tensor({2, 3}))), Error);
}

TEST(Gelu, ResultAndGradients) {
  for (const Shape& shape : {Shape{1}, {3, 5}, {2, 2, 33}})
    expect_op(
        "gelu", {random_tensor(shape, 1, 4.0f)},
        [](const Context& ctx, const auto& v) { return gelu(ctx, v[0]); },
        [](const testing::Values<double>& in) {
          std::vector<double> y = in[0];
          for (double& v : y) v *= 0.5 * (1 + std::erf(v / std::sqrt(2.0)));
          return y;
        },
        testing::Derivative::differences);
}

TEST(SwiGlu, ResultAndGradients) {
  for (const Shape& shape : {Shape{2}, {3, 10}, {2, 3, 34}})
    expect_op(
        "swiglu", {random_tensor(shape, 1, 3.0f)},
        [](const Context& ctx, const auto& v) { return swiglu(ctx, v[0]); },
        [&](const auto& in) {
          const std::int64_t half = shape[-1] / 2;
          auto y = in[0];
          y.resize(y.size() / 2);
          reference::swiglu(in[0].data(), static_cast<std::int64_t>(y.size()) / half, half, y.data());
          return y;
        });
  EXPECT_THROW(swiglu({}, Var(Tensor({2, 3}))), Error);
}

TEST(LayerScale, WithAndWithoutResidual) {
  const auto reference = [](const auto& in) {
    auto y = in[0];
    for (std::size_t i = 0; i < y.size(); ++i) {
      y[i] *= in[1][i % in[1].size()];
      if (in.size() > 2) y[i] += in[2][i];
    }
    return y;
  };
  for (const Shape& shape : {Shape{1, 1}, {3, 5}, {2, 70, 3}}) {
    const Tensor x = random_tensor(shape, 1), gamma = random_tensor({shape[-1]}, 2),
                 residual = random_tensor(shape, 3);
    expect_op(
        "plain", {x, gamma},
        [](const Context& ctx, const auto& v) { return layer_scale(ctx, v[0], v[1], Var()); }, reference);
    expect_op(
        "residual", {x, gamma, residual},
        [](const Context& ctx, const auto& v) { return layer_scale(ctx, v[0], v[1], v[2]); }, reference);
  }
  EXPECT_THROW(layer_scale({}, Var(Tensor({2, 3})), Var(Tensor({2})), Var()), Error);
  EXPECT_THROW(layer_scale({}, Var(Tensor({2, 3})), Var(Tensor({3})), Var(Tensor({3}))), Error);
}

TEST(Dropout, IdentityUnlessTraining) {
  Rng rng(7);
  const Var x(random_tensor({50}, 1), true);
  EXPECT_EQ(dropout({.rng = &rng}, x, 0.5f).value().data(), x.value().data());
  EXPECT_EQ(drop_path({.rng = &rng}, x, 0.5f).value().data(), x.value().data());
  EXPECT_EQ(dropout({.train = true, .rng = &rng}, x, 0.0f).value().data(), x.value().data());
  EXPECT_EQ(rng.counter(), 0U);
}

TEST(Dropout, DropsTheShareAndKeepsTheMean) {
  Rng rng(7);
  const Tensor y = dropout({.train = true, .rng = &rng}, Var(Tensor::full({40000}, 3.0f)), 0.3f).value();
  double zeros = 0, sum = 0;
  for (const float v : y.values()) {
    EXPECT_TRUE(v == 0.0f || std::abs(v - 3.0f / 0.7f) < 1e-6f);
    zeros += v == 0.0f;
    sum += v;
  }
  EXPECT_NEAR(zeros / 40000, 0.3, 0.01);
  EXPECT_NEAR(sum / 40000, 3.0, 0.05);
  EXPECT_EQ(rng.counter(), 1U);
}

TEST(Dropout, GradientUsesTheSameMask) {
  for (const bool path : {false, true}) {
    Rng rng(7);
    Tape tape;
    const Context ctx{.tape = &tape, .train = true, .rng = &rng};
    const Var x(Tensor::full({64, 3, 2}, 1.0f), true);
    const Var y = path ? drop_path(ctx, x, 0.4f) : dropout(ctx, x, 0.4f);
    tape.backward({{y, Tensor::full(y.shape(), 1.0f)}});
    EXPECT_TRUE(std::equal(y.value().values().begin(), y.value().values().end(), x.grad().values().begin()));
  }
}

TEST(DropPath, DropsWholeSamples) {
  Rng rng(7);
  const Tensor y =
      drop_path({.train = true, .rng = &rng}, Var(Tensor::full({3000, 2, 3}, 1.0f)), 0.25f).value();
  int dropped = 0;
  for (std::int64_t b = 0; b < 3000; ++b) {
    for (std::int64_t i = 0; i < 6; ++i) EXPECT_EQ(y[6 * b + i], y[6 * b]);
    dropped += y[6 * b] == 0.0f;
  }
  EXPECT_NEAR(dropped / 3000.0, 0.25, 0.03);
}

TEST(Dropout, ReproducibleForAnyThreads) {
  const int before = num_threads();
  Tensor first;
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Rng rng(11, 5);
    const Tensor y = dropout({.train = true, .rng = &rng}, Var(random_tensor({99999}, 1)), 0.1f).value();
    if (threads == 1) first = y;
    EXPECT_TRUE(std::equal(y.values().begin(), y.values().end(), first.values().begin()));
  }
  set_num_threads(before);
}

TEST(Dropout, BadProbabilitiesAreErrors) {
  Rng rng(7);
  const Context ctx{.train = true, .rng = &rng};
  const Var x(Tensor::zeros({2}));
  for (const float p : {-0.1f, 1.0f, std::nanf("")}) {
    EXPECT_THROW(dropout(ctx, x, p), Error);
    EXPECT_THROW(drop_path(ctx, x, p), Error);
  }
  EXPECT_THROW(dropout({.train = true}, x, 0.5f), Error);
}

}  // namespace elementwise_test
}  // namespace locant
