#include "ops/separable_softmax.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace separable_softmax_test {

using testing::expect_op;
using testing::random_tensor;

struct Case {
  std::int64_t B, H, D, query_rows, query_columns, key_rows, key_columns;
};

// Pair by pair: softmax over all key tokens of the summed scores.
template <class T>
std::vector<T> plain(const Case& c, const testing::Values<T>& in) {
  const std::int64_t Nq = c.query_rows * c.query_columns, Nk = c.key_rows * c.key_columns;
  std::vector<T> out(static_cast<std::size_t>(c.B * Nq * c.H * c.D));
  for (std::int64_t h = 0; h < c.H; ++h)
    for (std::int64_t i = 0; i < Nq; ++i) {
      std::vector<T> p(static_cast<std::size_t>(Nk));
      T total = 0;
      for (std::int64_t j = 0; j < Nk; ++j) {
        const std::int64_t row = (h * c.query_rows + i / c.query_columns) * c.key_rows + j / c.key_columns;
        const std::int64_t column =
            (h * c.query_columns + i % c.query_columns) * c.key_columns + j % c.key_columns;
        total += p[static_cast<std::size_t>(j)] =
            std::exp(in[0][static_cast<std::size_t>(row)] + in[1][static_cast<std::size_t>(column)]);
      }
      for (std::int64_t b = 0; b < c.B; ++b)
        for (std::int64_t j = 0; j < Nk; ++j)
          for (std::int64_t d = 0; d < c.D; ++d)
            out[static_cast<std::size_t>(((b * Nq + i) * c.H + h) * c.D + d)] +=
                p[static_cast<std::size_t>(j)] / total *
                in[2][static_cast<std::size_t>(((b * Nk + j) * c.H + h) * c.D + d)];
    }
  return out;
}

TEST(SeparableSoftmax, ResultAndGradients) {
  const int before = num_threads();
  for (const Case& c : {Case{1, 1, 1, 1, 1, 1, 1}, Case{2, 2, 3, 3, 2, 3, 2}, Case{1, 3, 4, 2, 5, 3, 2},
                        Case{3, 1, 2, 1, 4, 4, 3}})
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      expect_op(
          "separable_softmax",
          {random_tensor({c.H, c.query_rows, c.key_rows}, 1, 2.0f),
           random_tensor({c.H, c.query_columns, c.key_columns}, 2, 2.0f),
           random_tensor({c.B, c.key_rows * c.key_columns, c.H * c.D}, 3)},
          [](const Context& ctx, const auto& v) { return separable_softmax(ctx, v[0], v[1], v[2]); },
          [&](const auto& in) { return plain(c, in); });
    }
  set_num_threads(before);
}

TEST(SeparableSoftmax, RefusesShapesThatDoNotFit) {
  const auto run = [](const Shape& rows, const Shape& columns, const Shape& v) {
    return separable_softmax({}, Var(Tensor::zeros(rows)), Var(Tensor::zeros(columns)),
                             Var(Tensor::zeros(v)));
  };
  EXPECT_EQ(run({2, 3, 4}, {2, 5, 2}, {1, 8, 6}).shape(), (Shape{1, 15, 6}));
  EXPECT_THROW(run({2, 3, 4}, {3, 5, 2}, {1, 8, 6}), Error);
  EXPECT_THROW(run({2, 3, 4}, {2, 5, 2}, {1, 9, 6}), Error);
  EXPECT_THROW(run({2, 3, 4}, {2, 5, 2}, {1, 8, 5}), Error);
  EXPECT_EQ(run({2, 3, 4}, {2, 5, 2}, {0, 8, 6}).shape(), (Shape{0, 15, 6}));
  EXPECT_THROW(run({0, 3, 4}, {0, 5, 2}, {1, 8, 6}), Error);
  EXPECT_THROW(run({2, 3}, {2, 5, 2}, {1, 8, 6}), Error);
  try {
    run({2, 3, 4}, {3, 5, 2}, {1, 8, 6});
  } catch (const Error& e) {
    for (const char* shape : {"separable_softmax", "(2, 3, 4)", "(3, 5, 2)", "(1, 8, 6)"})
      EXPECT_NE(std::string(e.what()).find(shape), std::string::npos) << e.what();
  }
}

TEST(GatedSum, ResultAndGradients) {
  for (const Shape& shape : {Shape{1, 1, 2}, Shape{2, 3, 8}, Shape{3, 50, 6}})
    expect_op(
        "gated_sum", {random_tensor(shape, 1), random_tensor(shape, 2), random_tensor({2}, 3, 2.0f)},
        [](const Context& ctx, const auto& v) { return gated_sum(ctx, v[0], v[1], v[2]); },
        [&](const auto& in) {
          auto out = in[0];
          const std::size_t width = static_cast<std::size_t>(shape[2]);
          for (std::size_t x = 0; x < out.size(); ++x) {
            const auto gate = 1.0 / (1.0 + std::exp(-in[2][x % width / (width / 2)]));
            out[x] = (1.0 - gate) * in[0][x] + gate * in[1][x];
          }
          return out;
        });
}

TEST(GatedSum, RefusesShapesThatDoNotFit) {
  const auto run = [](const Shape& a, const Shape& b, const Shape& gate) {
    return gated_sum({}, Var(Tensor::zeros(a)), Var(Tensor::zeros(b)), Var(Tensor::zeros(gate)));
  };
  EXPECT_NO_THROW(run({1, 2, 6}, {1, 2, 6}, {3}));
  EXPECT_THROW(run({1, 2, 6}, {1, 3, 6}, {3}), Error);
  EXPECT_THROW(run({1, 2, 6}, {1, 2, 6}, {4}), Error);
  EXPECT_THROW(run({1, 2, 6}, {1, 2, 6}, {3, 1}), Error);
  EXPECT_THROW(run({2, 6}, {2, 6}, {3}), Error);
}

}  // namespace separable_softmax_test
}  // namespace locant
