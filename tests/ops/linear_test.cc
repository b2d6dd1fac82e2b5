#include "ops/linear.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace linear_test {

using testing::expect_close;
using testing::random_tensor;

// y = x W^T + b in the type of its inputs: {x, weight, bias}, bias maybe absent.
auto reference(std::int64_t in, std::int64_t out) {
  return [=](const auto& inputs) {
    using T = typename std::decay_t<decltype(inputs[0])>::value_type;
    const std::int64_t M = static_cast<std::int64_t>(inputs[0].size()) / in;
    std::vector<T> y(static_cast<std::size_t>(M * out));
    for (std::int64_t i = 0; i < M; ++i)
      for (std::int64_t j = 0; j < out; ++j) {
        T sum = inputs.size() > 2 ? inputs[2][static_cast<std::size_t>(j)] : T(0);
        for (std::int64_t k = 0; k < in; ++k)
          sum += inputs[0][static_cast<std::size_t>(i * in + k)] *
                 inputs[1][static_cast<std::size_t>(j * in + k)];
        y[static_cast<std::size_t>(i * out + j)] = sum;
      }
    return y;
  };
}

TEST(Linear, ResultAndGradientsOfOddSizes) {
  for (const auto& [M, in, out] :
       {std::array<std::int64_t, 3>{1, 1, 1}, {3, 5, 7}, {7, 17, 9}, {130, 3, 2}}) {
    const Tensor x = random_tensor({M, in}, 1), weight = random_tensor({out, in}, 2),
                 bias = random_tensor({out}, 3);
    testing::expect_op(
        "with bias", {x, weight, bias},
        [](const Context& ctx, const auto& v) { return linear(ctx, v[0], v[1], v[2]); }, reference(in, out));
    testing::expect_op(
        "without bias", {x, weight},
        [](const Context& ctx, const auto& v) { return linear(ctx, v[0], v[1], Var()); }, reference(in, out));
  }
}

TEST(Linear, KeepsTheLeadingAxes) {
  const Tensor y = linear_forward(random_tensor({2, 3, 4, 5}, 1), random_tensor({6, 5}, 2), Tensor());
  EXPECT_EQ(y.shape(), (Shape{2, 3, 4, 6}));
}

TEST(Linear, WrongShapesAreErrors) {
  const Tensor x({2, 5}), weight({6, 5});
  EXPECT_THROW(linear_forward(Tensor({2, 4}), weight, Tensor()), Error);
  EXPECT_THROW(linear_forward(x, weight, Tensor({5})), Error);
  Tensor dx;
  EXPECT_THROW(linear_backward(x, weight, Tensor({2, 5}), &dx, nullptr, nullptr), Error);
  EXPECT_THROW(PackedLinear(Tensor({6}), Tensor()), Error);
  const PackedLinear packed(Tensor::zeros({6, 5}), Tensor());
  EXPECT_THROW(packed.forward(Tensor({2, 4}), Activation::none, Tensor()), Error);
  EXPECT_THROW(packed.forward(x, Activation::none, Tensor({2, 5})), Error);
  EXPECT_THROW(PackedLinear().forward(x, Activation::none, Tensor()), Error);
}

// residual + act(x W^T + b) in double.
std::vector<double> fused_reference(const Tensor& x, const Tensor& weight, const Tensor& bias, Activation act,
                                    const Tensor& residual) {
  testing::Values<double> inputs = {testing::to_double(x), testing::to_double(weight)};
  if (bias.defined()) inputs.push_back(testing::to_double(bias));
  std::vector<double> y = reference(weight.dim(1), weight.dim(0))(inputs);
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (act == Activation::gelu) y[i] *= 0.5 * std::erfc(-y[i] * std::sqrt(0.5));
    if (residual.defined()) y[i] += static_cast<double>(residual[static_cast<std::int64_t>(i)]);
  }
  return y;
}

TEST(PackedLinear, EveryFusionMatchesFloat64) {
  for (const auto& [in, out] : {std::array<std::int64_t, 2>{1, 1}, {7, 13}, {48, 10}, {33, 96}, {96, 288}}) {
    const Tensor weight = random_tensor({out, in}, 2), bias = random_tensor({out}, 3);
    for (const bool with_bias : {false, true}) {
      const PackedLinear packed(weight, with_bias ? bias : Tensor());
      for (const std::int64_t M : {1, 2, 3, 17, 49}) {
        const Tensor x = random_tensor({M, in}, 4), residual = random_tensor({M, out}, 5);
        for (const Activation act : {Activation::none, Activation::gelu})
          for (const bool with_residual : {false, true}) {
            SCOPED_TRACE(::testing::Message()
                         << M << " x " << in << " -> " << out << " bias " << with_bias << " gelu "
                         << (act == Activation::gelu) << " residual " << with_residual);
            const Tensor add = with_residual ? residual : Tensor();
            expect_close(packed.forward(x, act, add),
                         fused_reference(x, weight, with_bias ? bias : Tensor(), act, add), 3e-6, "result");
          }
      }
    }
  }
}

TEST(PackedLinear, AgreesWithUnpackedForAnyNumberOfRows) {
  for (const auto& [in, out] : {std::array<std::int64_t, 2>{96, 384}, {384, 96}, {100, 30}}) {
    const Tensor weight = random_tensor({out, in}, 2), bias = random_tensor({out}, 3);
    const PackedLinear packed(weight, bias);
    for (const std::int64_t M : {1, 2, 3, 17, 49, 197, 784, 3136}) {
      SCOPED_TRACE(M);
      const Tensor x = random_tensor({M, in}, 4);
      // Both round float32 sums, in different orders: the worst of a million differs by some 4e-6.
      expect_close(packed.forward(x, Activation::none, Tensor()),
                   testing::to_double(linear_forward(x, weight, bias)), 8e-6, "result");
    }
  }
}

TEST(PackedLinear, DoesNotKeepItsInputs) {
  const auto numbers = std::make_shared<std::vector<float>>(96 * 64, 0.5f);
  const std::weak_ptr<std::vector<float>> alive = numbers;
  PackedLinear packed(Tensor::borrowed({96, 64}, numbers->data(), numbers), Tensor());
  EXPECT_EQ(alive.use_count(), 1);
  EXPECT_FLOAT_EQ(packed.forward(Tensor::full({1, 64}, 1.0f), Activation::none, Tensor())[95], 32.0f);
}

TEST(PackedLinear, TakesLittleMoreMemoryThanTheWeight) {
  const PackedLinear packed(Tensor::zeros({1000, 768}), Tensor());
  EXPECT_EQ(packed.in(), 768);
  EXPECT_EQ(packed.out(), 1000);
  EXPECT_GE(packed.bytes(), 1000 * 768 * 4);
  EXPECT_LE(packed.bytes(), 1024 * 768 * 4);
}

TEST(PackedLinear, NoRowsGiveNoRows) {
  const PackedLinear packed(Tensor::zeros({6, 5}), Tensor());
  EXPECT_EQ(packed.forward(Tensor({0, 5}), Activation::gelu, Tensor()).shape(), (Shape{0, 6}));
}

TEST(PackedLinear, FollowsTheNumberOfThreads) {
  const int before = num_threads();
  const Tensor weight = random_tensor({96, 64}, 2), x = random_tensor({200, 64}, 4);
  const PackedLinear packed(weight, Tensor());
  const std::vector<double> want = testing::to_double(linear_forward(x, weight, Tensor()));
  for (const int threads : {1, 3, 2, 4, 1}) {
    set_num_threads(threads);
    expect_close(packed.forward(x, Activation::gelu, Tensor()),
                 fused_reference(x, weight, Tensor(), Activation::gelu, Tensor()), 3e-6, "fused");
    expect_close(packed.forward(x, Activation::none, Tensor()), want, 2e-6, "plain");
  }
  set_num_threads(before);
}

}  // namespace linear_test
}  // namespace locant
