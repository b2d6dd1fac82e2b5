#include "ops/layout.h"

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace layout_test {

using testing::expect_op;
using testing::random_tensor;

TEST(MeanPool, LeavesOutTheFirstRows) {
  for (const auto& [B, N, C, skip] :
       {std::array<std::int64_t, 4>{1, 1, 1, 0}, {2, 5, 3, 0}, {3, 5, 7, 1}, {2, 9, 4, 5}})
    expect_op(
        "mean_pool", {random_tensor({B, N, C}, 1)},
        [skip = skip](const Context& ctx, const auto& v) { return mean_pool(ctx, v[0], skip); },
        [B = B, N = N, C = C, skip = skip](const auto& in) {
          using T = typename std::decay_t<decltype(in[0])>::value_type;
          std::vector<T> y(static_cast<std::size_t>(B * C));
          for (std::int64_t b = 0; b < B; ++b)
            for (std::int64_t n = skip; n < N; ++n)
              for (std::int64_t c = 0; c < C; ++c)
                y[static_cast<std::size_t>(b * C + c)] +=
                    in[0][static_cast<std::size_t>((b * N + n) * C + c)] / static_cast<double>(N - skip);
          return y;
        });
  EXPECT_THROW(mean_pool({}, Var(Tensor({2, 3, 4})), 3), Error);
  EXPECT_THROW(mean_pool({}, Var(Tensor({2, 3}))), Error);
}

TEST(SelectRows, TakesARange) {
  expect_op(
      "select_rows", {random_tensor({2, 5, 3}, 1)},
      [](const Context& ctx, const auto& v) { return select_rows(ctx, v[0], 1, 3); },
      [](const auto& in) {
        auto y = in[0];
        y.resize(12);
        for (std::size_t i = 0; i < 12; ++i) y[i] = in[0][i / 6 * 15 + 3 + i % 6];
        return y;
      });
  EXPECT_THROW(select_rows({}, Var(Tensor({2, 5, 3})), 3, 6), Error);
  EXPECT_THROW(select_rows({}, Var(Tensor({2, 5, 3})), 3, 2), Error);
  EXPECT_EQ(select_rows({}, Var(Tensor({2, 5, 3})), 2, 2).shape(), (Shape{2, 0, 3}));
}

TEST(ConcatRows, RepeatsPartsOfBatchOne) {
  expect_op(
      "concat_rows", {random_tensor({1, 1, 3}, 1), random_tensor({1, 2, 3}, 2), random_tensor({4, 5, 3}, 3)},
      [](const Context& ctx, const auto& v) { return concat_rows(ctx, v); },
      [](const auto& in) {
        auto y = in[0];
        y.clear();
        for (std::size_t b = 0; b < 4; ++b) {
          y.insert(y.end(), in[0].begin(), in[0].end());
          y.insert(y.end(), in[1].begin(), in[1].end());
          y.insert(y.end(), in[2].begin() + static_cast<std::ptrdiff_t>(b * 15),
                   in[2].begin() + static_cast<std::ptrdiff_t>(b * 15 + 15));
        }
        return y;
      });
  EXPECT_THROW(concat_rows({}, {}), Error);
  EXPECT_THROW(concat_rows({}, {Var(Tensor({2, 1, 3})), Var(Tensor({3, 1, 3}))}), Error);
  EXPECT_THROW(concat_rows({}, {Var(Tensor({2, 1, 3})), Var(Tensor({2, 1, 4}))}), Error);
}

TEST(Reshape, KeepsTheNumbers) {
  expect_op(
      "reshape", {random_tensor({2, 6}, 1)},
      [](const Context& ctx, const auto& v) {
        return reshape(ctx, v[0], {3, 2, 2});
      },
      [](const auto& in) { return in[0]; });
  EXPECT_THROW(reshape({}, Var(Tensor({2, 6})), {5}), Error);
}

TEST(Average, OfTwo) {
  expect_op(
      "average", {random_tensor({2, 7}, 1), random_tensor({2, 7}, 2)},
      [](const Context& ctx, const auto& v) { return average(ctx, v[0], v[1]); },
      [](const auto& in) {
        auto y = in[0];
        for (std::size_t i = 0; i < y.size(); ++i) y[i] = 0.5 * (in[0][i] + in[1][i]);
        return y;
      });
  EXPECT_THROW(average({}, Var(Tensor({2})), Var(Tensor({3}))), Error);
}

TEST(Patchify, BothOrdersAndRemainders) {
  struct Case {
    std::int64_t B, C, H, W, ph, pw;
  };
  for (const Case& c : {Case{1, 1, 1, 1, 1, 1}, {2, 3, 4, 6, 2, 2}, {1, 3, 7, 11, 3, 2}, {2, 2, 5, 4, 5, 1}})
    for (const PatchOrder order : {PatchOrder::channel_row_column, PatchOrder::row_column_channel})
      expect_op(
          "patchify", {random_tensor({c.B, c.C, c.H, c.W}, 1)},
          [=](const Context& ctx, const auto& v) { return patchify(ctx, v[0], c.ph, c.pw, order); },
          [=](const auto& in) {
            auto y = in[0];
            y.clear();
            const auto pixel = [&](std::int64_t b, std::int64_t ch, std::int64_t row, std::int64_t column) {
              return in[0][static_cast<std::size_t>(((b * c.C + ch) * c.H + row) * c.W + column)];
            };
            for (std::int64_t b = 0; b < c.B; ++b)
              for (std::int64_t i = 0; i + c.ph <= c.H; i += c.ph)
                for (std::int64_t j = 0; j + c.pw <= c.W; j += c.pw)
                  for (std::int64_t k = 0; k < c.C * c.ph * c.pw; ++k)
                    y.push_back(order == PatchOrder::channel_row_column
                                    ? pixel(b, k / (c.ph * c.pw), i + k / c.pw % c.ph, j + k % c.pw)
                                    : pixel(b, k % c.C, i + k / (c.C * c.pw), j + k / c.C % c.pw));
            return y;
          });
  EXPECT_THROW(patchify({}, Var(Tensor({1, 3, 3, 8})), 4, 4, PatchOrder::channel_row_column), Error);
  EXPECT_THROW(patchify({}, Var(Tensor({1, 3, 3, 8})), 0, 4, PatchOrder::channel_row_column), Error);
}

TEST(MergePatches, OddSidesArePadded) {
  struct Case {
    std::int64_t B, H, W, C;
  };
  for (const Case& c : {Case{1, 1, 1, 2}, {1, 2, 2, 1}, {2, 4, 6, 3}, {2, 5, 3, 2}, {1, 4, 7, 3}})
    expect_op(
        "merge_patches", {random_tensor({c.B, c.H, c.W, c.C}, 1)},
        [](const Context& ctx, const auto& v) { return merge_patches(ctx, v[0]); },
        [=](const auto& in) {
          auto y = in[0];
          using T = typename std::decay_t<decltype(y)>::value_type;
          y.clear();
          for (std::int64_t b = 0; b < c.B; ++b)
            for (std::int64_t i = 0; i < c.H; i += 2)
              for (std::int64_t j = 0; j < c.W; j += 2)
                for (const auto& [row, column] :
                     {std::array<std::int64_t, 2>{i, j}, {i + 1, j}, {i, j + 1}, {i + 1, j + 1}})
                  for (std::int64_t ch = 0; ch < c.C; ++ch)
                    y.push_back(
                        row < c.H && column < c.W
                            ? in[0][static_cast<std::size_t>(((b * c.H + row) * c.W + column) * c.C + ch)]
                            : T(0));
          return y;
        });
  EXPECT_THROW(merge_patches({}, Var(Tensor({2, 3, 4}))), Error);
}

}  // namespace layout_test
}  // namespace locant
