#include "ops/arithmetic.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/arithmetic_broadcast.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace arithmetic_test {

using testing::at;
using testing::expect_op;
using testing::random_tensor;

// Place in an operand that broadcasts to `result` for its number i.
std::size_t source(const Shape& result, const Shape& operand, std::int64_t i) {
  std::int64_t out = 0, step = 1;
  for (int axis = 1; axis <= operand.rank(); ++axis) {
    const std::int64_t where = i % result[-axis];
    i /= result[-axis];
    if (operand[-axis] != 1) out += where * step;
    step *= operand[-axis];
  }
  return at(out);
}

struct Case {
  Shape a, b, result;
};
const Case kCases[] = {{{}, {}, {}},
                       {{1}, {1}, {1}},
                       {{17}, {}, {17}},
                       {{2, 3}, {2, 3}, {2, 3}},
                       {{2, 3, 4}, {3, 1}, {2, 3, 4}},
                       {{2, 1, 4}, {3, 1}, {2, 3, 4}},
                       {{5}, {3, 2, 1}, {3, 2, 5}},
                       {{2, 3, 4, 5}, {2, 3, 1, 1}, {2, 3, 4, 5}},
                       {{1, 3}, {3}, {1, 3}},
                       {{2, 1, 3, 1, 2, 2}, {2, 1, 2, 1, 2}, {2, 2, 3, 2, 2, 2}},
                       {{2, 1, 17}, {1, 40, 1}, {2, 40, 17}}};

TEST(Multiply, Broadcasts) {
  for (const Case& c : kCases) {
    const auto op = [](const Context& ctx, const auto& v) { return multiply(ctx, v[0], v[1]); };
    EXPECT_EQ(op({}, std::vector<Var>{Var(Tensor::zeros(c.a)), Var(Tensor::zeros(c.b))}).shape(), c.result);
    expect_op((c.a.str() + c.b.str()).c_str(), {random_tensor(c.a, 1), random_tensor(c.b, 2)}, op,
              [&](const auto& in) {
                auto y = in[0];
                y.resize(at(c.result.numel()));
                for (std::int64_t i = 0; i < c.result.numel(); ++i)
                  y[at(i)] = in[0][source(c.result, c.a, i)] * in[1][source(c.result, c.b, i)];
                return y;
              });
  }
}

TEST(AddBroadcast, BothSides) {
  for (const Case& c : kCases)
    expect_op((c.a.str() + c.b.str()).c_str(), {random_tensor(c.a, 1), random_tensor(c.b, 2)},
              [](const Context& ctx, const auto& v) { return add_broadcast(ctx, v[0], v[1]); },
              [&](const auto& in) {
                auto y = in[0];
                y.resize(at(c.result.numel()));
                for (std::int64_t i = 0; i < c.result.numel(); ++i)
                  y[at(i)] = in[0][source(c.result, c.a, i)] + in[1][source(c.result, c.b, i)];
                return y;
              });
}

TEST(Multiply, SameValueTwiceGetsBothGradients) {
  Tape tape;
  const Var x(random_tensor({4}, 1), true);
  const Var y = multiply({.tape = &tape}, x, x);
  tape.backward({{y, Tensor::full({4}, 3.0f)}});
  EXPECT_FLOAT_EQ(x.grad()[2], 6.0f * x.value()[2]);
}

TEST(Multiply, MisfitsAndEmptyOperands) {
  EXPECT_THROW(multiply({}, Var(Tensor({2, 3})), Var(Tensor({2}))), Error);
  EXPECT_THROW(add_broadcast({}, Var(Tensor({2, 3})), Var(Tensor({4, 2, 2}))), Error);
  EXPECT_EQ(multiply({}, Var(Tensor({0, 3})), Var(Tensor({1, 3}))).shape(), (Shape{0, 3}));
}

// Wide, long, tall: each way to share the sums out over threads.
TEST(SumTo, ManyNumbersForAnyThreads) {
  const int before = num_threads();
  for (const auto& [from, to] : {std::pair<Shape, Shape>{{70000}, {}},
                                 {{5000, 7}, {7}},
                                 {{3, 9001}, {9001}},
                                 {{4, 300, 6}, {4, 1, 6}},
                                 {{300, 70}, {300, 1}},
                                 {{2, 3, 5001}, {2, 1, 5001}}}) {
    const Tensor x = random_tensor(from, 1), y = random_tensor(from, 2);
    std::vector<double> sums(at(to.numel())), products(at(to.numel()));
    for (std::int64_t i = 0; i < x.numel(); ++i) {
      sums[source(from, to, i)] += static_cast<double>(x[i]);
      products[source(from, to, i)] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    }
    Tensor first;
    for (const int threads : {1, 2, 3}) {
      set_num_threads(threads);
      const Tensor got = sum_to(x, to);
      if (threads == 1) first = got;
      EXPECT_EQ(got.shape(), to);
      EXPECT_TRUE(std::equal(got.values().begin(), got.values().end(), first.values().begin()));
      testing::expect_close(got, sums, 3e-6, from.str().c_str());
      testing::expect_close(product_sums(x, y, to), products, 3e-6, from.str().c_str());
    }
  }
  set_num_threads(before);
}

TEST(Affine, ResultAndGradient) {
  for (const Shape& shape : {Shape{}, {1}, {2, 17}})
    expect_op(
        "affine", {random_tensor(shape, 1)},
        [](const Context& ctx, const auto& v) { return affine(ctx, v[0], -0.5f, 2.0f); },
        [](const auto& in) {
          auto y = in[0];
          for (auto& v : y) v = -0.5 * v + 2.0;
          return y;
        });
}

TEST(Exp, ResultAndGradient) {
  for (const Shape& shape : {Shape{1}, {2}, {3, 17}, {9, 65}})
    expect_op(
        "exp", {random_tensor(shape, 1, 3.0f)},
        [](const Context& ctx, const auto& v) { return exp(ctx, v[0]); },
        [](const auto& in) {
          auto y = in[0];
          for (auto& v : y) v = std::exp(v);
          return y;
        },
        shape.numel() > 50 ? testing::Derivative::complex_step : testing::Derivative::differences);
}

TEST(ClampMax, ResultAndGradient) {
  expect_op(
      "clamp", {random_tensor({3, 17}, 1)},
      [](const Context& ctx, const auto& v) { return clamp_max(ctx, v[0], 0.25f); },
      [](const auto& in) {
        auto y = in[0];
        for (auto& v : y)
          if (std::real(v) > 0.25) v = 0.25;
        return y;
      });
}

TEST(SumAxis, EveryAxis) {
  const Shape shape{3, 17, 4};
  for (int axis = -3; axis < 3; ++axis) {
    std::vector<std::int64_t> extents = {3, 17, 4};
    extents[at((axis + 3) % 3)] = 1;
    const Shape reduced{std::span<const std::int64_t>(extents)};
    EXPECT_EQ(sum_axis({}, Var(Tensor::zeros(shape)), axis).shape(), reduced);
    expect_op(
        "sum", {random_tensor(shape, 1)},
        [&](const Context& ctx, const auto& v) { return sum_axis(ctx, v[0], axis); },
        [&](const auto& in) {
          auto y = in[0];
          y.assign(at(reduced.numel()), 0);
          for (std::int64_t i = 0; i < shape.numel(); ++i) y[source(shape, reduced, i)] += in[0][at(i)];
          return y;
        });
  }
  EXPECT_THROW(sum_axis({}, Var(Tensor({2, 3})), 2), Error);
  EXPECT_THROW(sum_axis({}, Var(Tensor({2, 3})), -3), Error);
  EXPECT_EQ(sum_axis({}, Var(Tensor({2, 0})), 1).value()[1], 0.0f);
}

TEST(L2Normalize, ResultAndGradient) {
  for (const Shape& shape : {Shape{2}, {3, 5}, {2, 2, 33}})
    for (const float eps : {1e-12f, 100.0f})  // the second: every row is divided by eps
      expect_op(
          "normalise", {random_tensor(shape, 1)},
          [&](const Context& ctx, const auto& v) { return l2_normalize(ctx, v[0], eps); },
          [&](const auto& in) {
            auto y = in[0];
            const std::int64_t width = shape[-1];
            for (std::size_t r = 0; r < y.size(); r += at(width)) {
              auto square = 0.0 * y[0];
              for (std::size_t c = r; c < r + at(width); ++c) square += y[c] * y[c];
              auto norm = std::sqrt(square);
              if (std::real(norm) < static_cast<double>(eps)) norm = static_cast<double>(eps);
              for (std::size_t c = r; c < r + at(width); ++c) y[c] = y[c] / norm;
            }
            return y;
          });
}

TEST(L2Normalize, ZerosAndErrors) {
  Tape tape;
  const Var x(Tensor::zeros({2, 3}), true);
  const Var y = l2_normalize({.tape = &tape}, x);
  tape.backward({{y, Tensor::full({2, 3}, 1.0f)}});
  for (const float v : y.value().values()) EXPECT_EQ(v, 0.0f);
  for (const float g : x.grad().values()) EXPECT_FLOAT_EQ(g, 1e12f);
  EXPECT_THROW(l2_normalize({}, Var(Tensor::zeros({}))), Error);
  EXPECT_THROW(l2_normalize({}, x, 0.0f), Error);
}

TEST(Arithmetic, SameBitsForAnyThreads) {
  const std::vector<Tensor> one = {random_tensor({6, 70, 129}, 1)};
  for (const Shape& other : {Shape{129}, {70, 1}, {6, 1, 1}, {6, 70, 129}}) {
    const std::vector<Tensor> two = {one[0], random_tensor(other, 2)};
    testing::expect_same_for_threads(
        "multiply", two, [](const Context& ctx, const auto& v) { return multiply(ctx, v[0], v[1]); });
    testing::expect_same_for_threads(
        "add", two, [](const Context& ctx, const auto& v) { return add_broadcast(ctx, v[1], v[0]); });
  }
  testing::expect_same_for_threads("exp", one,
                                   [](const Context& ctx, const auto& v) { return exp(ctx, v[0]); });
  testing::expect_same_for_threads("sum", one,
                                   [](const Context& ctx, const auto& v) { return sum_axis(ctx, v[0], 1); });
  testing::expect_same_for_threads("normalise", one,
                                   [](const Context& ctx, const auto& v) { return l2_normalize(ctx, v[0]); });
}

}  // namespace arithmetic_test
}  // namespace locant
