#include "ops/activation.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "core/error.h"
#include "kernels/row_ops.h"
#include "tests/ops/op_check.h"
#include "tests/support/isas.h"

namespace locant {
namespace activation_test {

using testing::expect_op;
using testing::random_tensor;

// The formulas for numbers of any type; comparisons by the real part.
struct Formula {
  const char* name;
  Var (*op)(const Context&, const Var&);
  std::complex<double> (*f)(std::complex<double>);
};

using Z = std::complex<double>;
Z logistic(Z x) { return 1.0 / (1.0 + std::exp(-x)); }
Z ramp(Z x) { return x.real() < 0 ? Z(0) : x.real() > 6 ? Z(6) : x; }

const Formula kFormulas[] = {
    {"relu", relu, [](Z x) { return x.real() > 0 ? x : Z(0); }},
    {"relu6", relu6, ramp},
    {"sigmoid", sigmoid, logistic},
    {"tanh", locant::tanh, [](Z x) { return (std::exp(2.0 * x) - 1.0) / (std::exp(2.0 * x) + 1.0); }},
    {"silu", silu, [](Z x) { return x * logistic(x); }},
    {"hard_sigmoid", hard_sigmoid, [](Z x) { return ramp(x + 3.0) / 6.0; }},
    {"hard_swish", hard_swish, [](Z x) { return x * ramp(x + 3.0) / 6.0; }},
    {"quick_gelu", quick_gelu, [](Z x) { return x * logistic(1.702 * x); }},
    {"gelu_tanh", gelu_tanh,
     [](Z x) { return x * logistic(2.0 * std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)); }},
    {"elu", elu, [](Z x) { return x.real() > 0 ? x : std::exp(x) - 1.0; }}};

TEST(Activation, ResultsAndGradients) {
  for (const Formula& formula : kFormulas)
    for (const Shape& shape : {Shape{}, {1}, {2}, {3, 17}, {2, 3, 33}})
      expect_op(
          formula.name, {random_tensor(shape, 1, 8.0f)},
          [&](const Context& ctx, const auto& v) { return formula.op(ctx, v[0]); },
          [&](const auto& in) {
            auto y = in[0];
            for (auto& v : y) {
              if constexpr (std::is_same_v<std::decay_t<decltype(v)>, double>)
                v = formula.f(v).real();
              else
                v = formula.f(v);
            }
            return y;
          });
}

// At the corners the gradient is 0 (relu, relu6) or that of one side; NaN stays NaN.
TEST(Activation, CornersAndNaN) {
  const auto gradient = [](auto op, float at) {
    Tape tape;
    const Var x(Tensor::full({1}, at), true);
    tape.backward(op(Context{.tape = &tape}, x));
    return x.grad()[0];
  };
  EXPECT_EQ(gradient(relu, 0.0f), 0.0f);
  EXPECT_EQ(gradient(relu6, 0.0f), 0.0f);
  EXPECT_EQ(gradient(relu6, 6.0f), 0.0f);
  EXPECT_EQ(gradient(hard_sigmoid, 3.0f), 0.0f);
  EXPECT_EQ(gradient(hard_swish, 3.0f), 1.0f);
  EXPECT_EQ(gradient(hard_swish, -3.0f), 0.0f);
  EXPECT_EQ(gradient(elu, 0.0f), 1.0f);
  EXPECT_EQ(gradient(gelu_tanh, 1e20f), 1.0f);  // whose cube is beyond float32
  EXPECT_EQ(gradient(gelu_tanh, -1e20f), 0.0f);
  for (const Formula& formula : kFormulas)
    for (const std::int64_t n : {1, 16})
      EXPECT_TRUE(std::isnan(formula.op({}, Var(Tensor::full({n}, std::nanf("")))).value()[n - 1]))
          << formula.name;
}

TEST(Glu, ResultAndGradients) {
  for (const Shape& shape : {Shape{2}, {3, 10}, {2, 3, 34}})
    expect_op(
        "glu", {random_tensor(shape, 1, 3.0f)},
        [](const Context& ctx, const auto& v) { return glu(ctx, v[0]); },
        [&](const auto& in) {
          auto y = in[0];
          const std::size_t half = static_cast<std::size_t>(shape[-1]) / 2;
          y.resize(y.size() / 2);
          for (std::size_t i = 0; i < y.size(); ++i) {
            const std::size_t a = i / half * 2 * half + i % half;
            y[i] = in[0][a] / (1.0 + std::exp(-in[0][a + half]));
          }
          return y;
        });
  EXPECT_THROW(glu({}, Var(Tensor({2, 3}))), Error);
  EXPECT_THROW(glu({}, Var(Tensor(Shape{}))), Error);
}

/// The row kernels under these ops in every instruction set that the machine has.
class ActivationRows : public ::testing::TestWithParam<Isa> {
 protected:
  const RowOps& ops() const { return row_ops(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Isas, ActivationRows, ::testing::ValuesIn(testing::tested_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST_P(ActivationRows, FromTailToTail) {
  std::vector<float> points;
  for (int i = -2000; i <= 2000; ++i) points.push_back(static_cast<float>(i) / 100.0f);
  points.insert(points.end(),
                {-0.0f, 1e-30f, -1e-30f, 1e-4f, -1e-4f, 87.5f, -87.2f, 200.0f, -200.0f, 1e30f, -1e30f});
  const auto n = static_cast<std::int64_t>(points.size());
  const std::vector<float> ones(points.size(), 1.0f);
  std::vector<float> y(points.size());
  const auto check = [&](const char* what, const auto& want, double relative, double absolute) {
    for (std::size_t i = 0; i < points.size(); ++i) {
      const double x = static_cast<double>(points[i]), expected = want(x);
      if (std::abs(expected) > 1e38) continue;
      EXPECT_NEAR(static_cast<double>(y[i]), expected, std::abs(expected) * relative + absolute)
          << what << " of " << x;
    }
  };
  const auto s = [](double x) { return 1 / (1 + std::exp(-x)); };
  ops().exp(points.data(), n, y.data());
  check(
      "exp", [](double x) { return std::exp(x); }, 3e-7, 1.2e-38);
  EXPECT_TRUE(std::isinf(y[points.size() - 2]));
  ops().sigmoid(points.data(), n, y.data());
  check("sigmoid", s, 5e-7, 1.2e-38);
  ops().tanh(points.data(), n, y.data());
  check(
      "tanh", [](double x) { return std::tanh(x); }, 4e-7, 1e-37);
  ops().elu(points.data(), n, y.data());
  check(
      "elu", [](double x) { return x > 0 ? x : std::expm1(x); }, 3e-7, 1e-37);
  ops().silu(points.data(), 1.702f, n, y.data());
  check(
      "silu", [&](double x) { return x * s(static_cast<double>(1.702f) * x); }, 4e-6, 1e-36);
  ops().silu_gradient(points.data(), 1.0f, ones.data(), n, y.data());
  check(
      "silu slope", [&](double x) { return s(x) * (1 + x * s(-x)); }, 0, 4e-7);
}

TEST_P(ActivationRows, GluForEveryWidth) {
  for (const std::int64_t half : {1, 2, 7, 16, 17, 65}) {
    const Tensor x = random_tensor({3, 2 * half}, 1, 4.0f), dy = random_tensor({3, half}, 2);
    Tensor y({3, half}), dx({3, 2 * half});
    ops().glu(x.data(), 3, half, y.data());
    ops().glu_gradient(x.data(), dy.data(), 3, half, dx.data());
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t c = 0; c < half; ++c) {
        const double a = x[r * 2 * half + c], s = logistic(x[r * 2 * half + half + c]).real(),
                     g = dy[r * half + c];
        EXPECT_NEAR(y[r * half + c], a * s, 2e-6);
        EXPECT_NEAR(dx[r * 2 * half + c], g * s, 1e-6);
        EXPECT_NEAR(dx[r * 2 * half + half + c], g * a * s * (1 - s), 1e-6);
      }
  }
}

TEST_P(ActivationRows, GradientsKeepNan) {
  for (const std::int64_t n : {1, 16}) {
    const Tensor x = Tensor::full({2 * n}, std::nanf("")), dy = Tensor::full({n}, 1.0f);
    Tensor dx({2 * n});
    ops().sigmoid_gradient(x.data(), 1.0f, dy.data(), n, dx.data());
    EXPECT_TRUE(std::isnan(dx[n - 1]));
    ops().silu_gradient(x.data(), 1.0f, dy.data(), n, dx.data());
    EXPECT_TRUE(std::isnan(dx[n - 1]));
    Tensor gate = Tensor::full({2 * n}, 1.0f);
    std::fill_n(gate.data() + n, n, std::nanf(""));
    ops().glu_gradient(gate.data(), dy.data(), 1, n, dx.data());
    EXPECT_TRUE(std::isnan(dx[n - 1]) && std::isnan(dx[2 * n - 1]));
  }
}

TEST_P(ActivationRows, CorrelateAndItsGradient) {
  for (const std::int64_t n : {0, 1, 15, 16, 17, 64, 131})
    for (const std::int64_t taps : {0, 1, 3, 4, 9}) {
      const Tensor x = random_tensor({n + 40}, 1), w = random_tensor({taps}, 2), dy = random_tensor({n}, 3);
      std::vector<std::int64_t> offsets;
      for (std::int64_t t = 0; t < taps; ++t) offsets.push_back(20 + t * 7 % 40 - 20);
      Tensor y = Tensor::full({n + 1}, 0.5f), dw = Tensor::full({taps + 1}, 0.5f);
      ops().correlate(x.data(), offsets.data(), w.data(), taps, n, y.data());
      ops().correlate_gradient(x.data(), offsets.data(), dy.data(), taps, n, dw.data());
      for (std::int64_t i = 0; i < n; ++i) {
        double want = 0.5;
        for (std::int64_t t = 0; t < taps; ++t)
          want +=
              static_cast<double>(w[t]) * static_cast<double>(x[i + offsets[static_cast<std::size_t>(t)]]);
        EXPECT_NEAR(y[i], want, 2e-6);
      }
      for (std::int64_t t = 0; t < taps; ++t) {
        double want = 0.5;
        for (std::int64_t i = 0; i < n; ++i)
          want +=
              static_cast<double>(dy[i]) * static_cast<double>(x[i + offsets[static_cast<std::size_t>(t)]]);
        EXPECT_NEAR(dw[t], want, 5e-6);
      }
      EXPECT_EQ(y[n], 0.5f);
      EXPECT_EQ(dw[taps], 0.5f);
    }
}

TEST(Activation, SameBitsForAnyThreads) {
  const std::vector<Tensor> x = {random_tensor({3, 161, 130}, 1, 8.0f)};
  for (const Formula& formula : kFormulas)
    testing::expect_same_for_threads(
        formula.name, x, [&](const Context& ctx, const auto& v) { return formula.op(ctx, v[0]); });
  testing::expect_same_for_threads("glu", x,
                                   [](const Context& ctx, const auto& v) { return glu(ctx, v[0]); });
}

}  // namespace activation_test
}  // namespace locant
