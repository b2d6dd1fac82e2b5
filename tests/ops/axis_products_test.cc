#include "ops/axis_products.h"

#include "core/error.h"
#include "core/parallel.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace axis_products_test {

using testing::expect_op;
using testing::random_tensor;
using testing::Values;

struct Case {
  const char* what;
  std::int64_t B, N, H, D, first, W;
  std::int64_t Q, E, R;
  bool per_head;
  std::int64_t step;  ///< coordinate of token n: n / step % Q, none where that is `none`
  std::int64_t none = -1;
};

std::shared_ptr<const AxisIndex> index_of(const Case& c) {
  std::vector<std::int32_t> coordinate, rows;
  for (std::int64_t n = 0; n < c.N; ++n) {
    const std::int64_t q = n / c.step % c.Q;
    coordinate.push_back(q == c.none ? -1 : static_cast<std::int32_t>(q));
  }
  for (std::int64_t q = 0; q < c.Q; ++q)
    for (std::int64_t e = 0; e < c.E; ++e) {
      const std::int64_t row = 5 * q + 3 * e;
      rows.push_back(row % 7 == 6 ? -1 : static_cast<std::int32_t>(row % c.R));
    }
  return std::make_shared<AxisIndex>(coordinate, c.Q, c.E, rows);
}

// Number by number, as the header says.
template <class T>
std::vector<T> plain(const Case& c, const AxisIndex& index, const Values<T>& in, double alpha) {
  std::vector<T> out;
  for (std::int64_t b = 0; b < c.B; ++b)
    for (std::int64_t n = 0; n < c.N; ++n)
      for (std::int64_t h = 0; h < c.H; ++h)
        for (std::int64_t e = 0; e < c.E; ++e) {
          const std::int64_t q = index.coordinate(n), row = q < 0 ? -1 : index.row(q, e);
          T sum{};
          for (std::int64_t d = 0; row >= 0 && d < c.W; ++d)
            sum += in[0][static_cast<std::size_t>((b * c.N + n) * c.H * c.D + h * c.D + c.first + d)] *
                   in[1][static_cast<std::size_t>(((c.per_head ? h * c.R : 0) + row) * c.W + d)];
          out.push_back(alpha * sum);
        }
  return out;
}

const Case kCases[] = {
    {"one of all", 1, 1, 1, 1, 0, 1, 1, 1, 1, false, 1},
    {"rows of a grid: no copy", 2, 12, 2, 3, 0, 3, 3, 4, 7, false, 4},
    {"columns of a grid", 2, 12, 2, 3, 0, 3, 4, 3, 7, false, 1},
    {"special tokens", 1, 10, 2, 2, 0, 2, 5, 3, 9, false, 2, 0},
    {"a half of the channels", 1, 9, 2, 4, 2, 2, 3, 5, 6, false, 1},
    {"a table for each head", 2, 8, 3, 2, 0, 2, 4, 3, 5, true, 2},
    {"one coordinate for all, as of an absolute table", 3, 40, 2, 2, 0, 2, 1, 6, 6, false, 1},
};

TEST(AxisProducts, AreTheFormula) {
  for (const Case& c : kCases) {
    const auto index = index_of(c);
    const Tensor x = random_tensor({c.B, c.N, c.H * c.D}, 1);
    const Tensor table = random_tensor(c.per_head ? Shape{c.H, c.R, c.W} : Shape{c.R, c.W}, 2);
    expect_op(
        c.what, {x, table},
        [&](const Context& ctx, const std::vector<Var>& in) {
          return axis_products(ctx, in[0], c.H, in[1], index, {.alpha = 0.75f, .first = c.first});
        },
        [&](const auto& in) { return plain(c, *index, in, 0.75); });
  }
}

// More rows than one product takes, cut at runs and elsewhere; any number of threads gives the same bits.
TEST(AxisProducts, LongRunsAreCutAndThreadsDoNotMatter) {
  const int threads = num_threads();
  for (const std::int64_t step : {1, 50}) {
    const Case c{"long", 1, 1500, 2, 5, 0, 5, 3, 4, 9, false, step};
    const auto index = index_of(c);
    const Tensor x = random_tensor({1, c.N, c.H * c.D}, 3), table = random_tensor({c.R, c.W}, 4);
    const Tensor dy = random_tensor({1, c.N, c.H, c.E}, 5);
    std::vector<Tensor> first;
    for (const int count : {1, 2, 3}) {
      set_num_threads(count);
      Tape tape;
      const Var a(x, true), t(table, true);
      const Var y = axis_products({.tape = &tape}, a, c.H, t, index);
      tape.backward({{y, dy}});
      const std::vector<Tensor> got = {y.value(), a.grad(), t.grad()};
      testing::expect_close(
          y.value(), plain(c, *index, Values<double>{testing::to_double(x), testing::to_double(table)}, 1.0),
          3e-6, "result");
      if (first.empty()) first = got;
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_TRUE(std::equal(got[i].values().begin(), got[i].values().end(), first[i].values().begin()));
    }
  }
  set_num_threads(threads);
}

TEST(AxisProducts, RefuseWhatDoesNotFit) {
  const auto index = std::make_shared<AxisIndex>(std::vector<std::int32_t>{0, 1, -1}, 2, 2,
                                                 std::vector<std::int32_t>{0, 1, 2, -1});
  EXPECT_EQ(index->table_rows(), 3);
  const Var x(Tensor::zeros({1, 3, 4}));
  EXPECT_NO_THROW(axis_products({}, x, 2, Var(Tensor::zeros({3, 2})), index));
  EXPECT_THROW(axis_products({}, x, 2, Var(Tensor::zeros({2, 2})), index), Error);
  EXPECT_THROW(axis_products({}, x, 2, Var(Tensor::zeros({3, 3})), index), Error);
  EXPECT_THROW(axis_products({}, x, 3, Var(Tensor::zeros({3, 1})), index), Error);
  EXPECT_THROW(axis_products({}, x, 2, Var(Tensor::zeros({3, 3, 2})), index), Error);
  EXPECT_THROW(axis_products({}, x, 2, Var(Tensor::zeros({3, 1})), index, {.first = 2}), Error);
  EXPECT_THROW(axis_products({}, Var(Tensor::zeros({1, 2, 4})), 2, Var(Tensor::zeros({3, 2})), index), Error);
  EXPECT_THROW(axis_products({}, x, 2, Var(Tensor::zeros({3, 1})), index, {.first = INT64_MAX}), Error);
  EXPECT_EQ(AxisIndex({0}, 1, 1, {INT32_MAX}).table_rows(), std::int64_t{1} << 31);
  EXPECT_THROW(AxisIndex({2}, 2, 1, {0, 0}), Error);
  EXPECT_THROW(AxisIndex({0}, 2, 1, {0}), Error);
  EXPECT_THROW(AxisIndex({0}, 0, 1, {}), Error);
}

}  // namespace axis_products_test
}  // namespace locant
