#include "position/swin_bias.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace swin_bias_test {

using testing::random_tensor;

static_assert(swin_index({2, 3}, 0, 0) == 7);
static_assert(swin_index({2, 3}, 0, 5) == 0);
static_assert(swin_index({2, 3}, 5, 0) == 14);
static_assert(swin_index({2, 3}, 0, 1) == 6);
static_assert(swin_index({2, 3}, 0, 3) == 2);
static_assert(swin_table_rows({7, 7}) == 169);
static_assert(swin_table_rows({2, 3}) == 15);

TEST(SwinBias, IndexOfATwoByTwoWindow) {
  constexpr int kGolden[4][4] = {{4, 3, 1, 0}, {5, 4, 2, 1}, {7, 6, 4, 3}, {8, 7, 5, 4}};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_EQ(swin_index({2, 2}, i, j), kGolden[i][j]) << i << ", " << j;
}

TEST(SwinBias, IndexOfAThreeByThreeWindow) {
  constexpr int kGolden[9][9] = {{12, 11, 10, 7, 6, 5, 2, 1, 0},       {13, 12, 11, 8, 7, 6, 3, 2, 1},
                                 {14, 13, 12, 9, 8, 7, 4, 3, 2},       {17, 16, 15, 12, 11, 10, 7, 6, 5},
                                 {18, 17, 16, 13, 12, 11, 8, 7, 6},    {19, 18, 17, 14, 13, 12, 9, 8, 7},
                                 {22, 21, 20, 17, 16, 15, 12, 11, 10}, {23, 22, 21, 18, 17, 16, 13, 12, 11},
                                 {24, 23, 22, 19, 18, 17, 14, 13, 12}};
  for (int i = 0; i < 9; ++i)
    for (int j = 0; j < 9; ++j) EXPECT_EQ(swin_index({3, 3}, i, j), kGolden[i][j]) << i << ", " << j;
}

TEST(SwinBias, CodesGiveTheIndex) {
  for (const Window w : {Window{1, 1}, Window{7, 7}, Window{2, 5}, Window{4, 3}}) {
    const auto gather = swin_gather(w, w);
    EXPECT_EQ(gather->offsets, swin_table_rows(w));
    for (std::int64_t i = 0; i < w.tokens(); ++i)
      for (std::int64_t j = 0; j < w.tokens(); ++j)
        EXPECT_EQ(gather->query_code[static_cast<std::size_t>(i)] -
                      gather->key_code[static_cast<std::size_t>(j)] + gather->origin,
                  swin_index(w, i, j));
  }
}

TEST(SwinBias, SmallerWindowTakesTheSameOffsets) {
  constexpr Window kTable{4, 5}, kWindow{2, 3};
  const auto gather = swin_gather(kTable, kWindow);
  for (std::int64_t i = 0; i < kWindow.tokens(); ++i)
    for (std::int64_t j = 0; j < kWindow.tokens(); ++j) {
      const std::int64_t in_table_i = i / 3 * 5 + i % 3, in_table_j = j / 3 * 5 + j % 3;
      EXPECT_EQ(gather->query_code[static_cast<std::size_t>(i)] -
                    gather->key_code[static_cast<std::size_t>(j)] + gather->origin,
                swin_index(kTable, in_table_i, in_table_j));
    }
  EXPECT_THROW(swin_gather(kWindow, kTable), Error);
  EXPECT_THROW(swin_gather(kTable, {0, 3}), Error);
  EXPECT_THROW(swin_gather({1 << 20, 1 << 20}, {2, 2}), Error);
  EXPECT_THROW(kSwinBias.make({.query = {1, 2, 2}, .key = {1, 2, 3}}), Error);
}

TEST(SwinBias, TermRefusesATableOfAnotherWindow) {
  const SwinBias bias{{3, 3}, Var(Tensor::zeros({24, 2}))};
  EXPECT_THROW(swin_bias_term(bias, swin_gather({3, 3}, {3, 3})), Error);
}

TEST(SwinBias, ResizeKeepsAConstantAndSeparatesHeads) {
  constexpr Window kFrom{7, 7}, kTo{12, 12};
  Tensor table({swin_table_rows(kFrom), 2});
  for (std::int64_t row = 0; row < table.dim(0); ++row) table[2 * row] = 3.0f, table[2 * row + 1] = -1.0f;
  const Tensor resized = resize_swin_bias(Context{}, Var(table), kFrom, kTo).value();
  ASSERT_EQ(resized.shape(), (Shape{swin_table_rows(kTo), 2}));
  for (std::int64_t row = 0; row < resized.dim(0); ++row) {
    EXPECT_NEAR(resized[2 * row], 3.0f, 1e-5f);
    EXPECT_NEAR(resized[2 * row + 1], -1.0f, 1e-5f);
  }
  EXPECT_THROW(resize_swin_bias(Context{}, Var(table), kTo, kFrom), Error);
}

TEST(SwinBias, ResizeIsBicubicOverTheGridOfOffsets) {
  // Varies along the columns only. 2 w - 1: 5 -> 9, four taps of the cubic kernel with a = -0.75 (official
  // loader).
  constexpr Window kFrom{3, 3}, kTo{5, 5};
  constexpr double kValues[5] = {0.0, 1.0, 4.0, -2.0, 3.0};
  Tensor table({swin_table_rows(kFrom), 1});
  for (std::int64_t row = 0; row < table.dim(0); ++row) table[row] = static_cast<float>(kValues[row % 5]);
  const Tensor resized = resize_swin_bias(Context{}, Var(table), kFrom, kTo).value();
  const auto kernel = [](double x) {
    constexpr double a = -0.75;
    x = std::abs(x);
    if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
    return x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0.0;
  };
  for (std::int64_t row = 0; row < 9; ++row)
    for (int column = 0; column < 9; ++column) {
      const double at = (column + 0.5) * 5 / 9 - 0.5;
      double want = 0;
      for (int tap = static_cast<int>(std::floor(at)) - 1; tap <= static_cast<int>(std::floor(at)) + 2; ++tap)
        want += kernel(at - tap) * kValues[std::clamp(tap, 0, 4)];
      EXPECT_NEAR(resized[row * 9 + column], want, 1e-5);
    }
}

/// Attention of one window by the equation; q, k, v (N, D) a head in one buffer (N, 3, H, D), table after it.
template <class T>
std::vector<T> attend(const std::vector<T>& qkv, std::span<const T> table, Window w, std::int64_t heads,
                      std::int64_t D) {
  const std::int64_t N = w.tokens();
  const auto at = [&](std::int64_t n, std::int64_t which, std::int64_t h) {
    return ((n * 3 + which) * heads + h) * D;
  };
  std::vector<T> out(static_cast<std::size_t>(N * heads * D), T(0));
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < N; ++i) {
      std::vector<T> p(static_cast<std::size_t>(N));
      T sum = 0;
      for (std::int64_t j = 0; j < N; ++j) {
        T qk = 0;
        for (std::int64_t d = 0; d < D; ++d)
          qk +=
              qkv[static_cast<std::size_t>(at(i, 0, h) + d)] * qkv[static_cast<std::size_t>(at(j, 1, h) + d)];
        qk /= std::sqrt(static_cast<double>(D));
        sum += p[static_cast<std::size_t>(j)] = std::exp(swin_bias_score<T>(qk, table, heads, h, w, i, j));
      }
      for (std::int64_t j = 0; j < N; ++j)
        for (std::int64_t d = 0; d < D; ++d)
          out[static_cast<std::size_t>((i * heads + h) * D + d)] +=
              p[static_cast<std::size_t>(j)] / sum * qkv[static_cast<std::size_t>(at(j, 2, h) + d)];
    }
  return out;
}

TEST(SwinBias, FusedAttentionFollowsTheEquationWithItsGradients) {
  constexpr Window kWindow{3, 2};
  constexpr std::int64_t kHeads = 2, kD = 5, kN = 6;
  const Tensor qkv = random_tensor({1, kN, 3 * kHeads * kD}, 1);
  const Tensor table = random_tensor({swin_table_rows(kWindow), kHeads}, 2);
  const Tensor cotangent = random_tensor({1, kN, kHeads * kD}, 3);

  Tape tape;
  const Context ctx{.tape = &tape};
  const Var x(qkv.clone(), true);
  const SwinBias bias{kWindow, Var(table.clone(), true)};
  AttentionOptions options;
  options.heads = kHeads;
  options.terms = {swin_bias_term(bias, swin_gather(kWindow, kWindow))};
  const Var y = attention(ctx, x, options);
  tape.backward({{y, cotangent.clone()}});

  std::vector<double> numbers = testing::to_double(qkv);
  const std::vector<double> t = testing::to_double(table);
  testing::expect_close(y.value(), attend<double>(numbers, t, kWindow, kHeads, kD), 1e-5, "output");

  numbers.insert(numbers.end(), t.begin(), t.end());
  const auto loss = [&](const std::vector<std::complex<double>>& z) {
    using C = std::complex<double>;
    const auto split = static_cast<std::ptrdiff_t>(qkv.numel());
    const std::vector<C> in(z.begin(), z.begin() + split), rows(z.begin() + split, z.end());
    const std::vector<C> out = attend<C>(in, rows, kWindow, kHeads, kD);
    C sum = 0;
    for (std::size_t i = 0; i < out.size(); ++i)
      sum += out[i] * static_cast<double>(cotangent[static_cast<std::int64_t>(i)]);
    return sum;
  };
  const std::vector<double> gradient = testing::complex_step_gradient(loss, numbers);
  testing::expect_close(x.grad(), {gradient.begin(), gradient.begin() + qkv.numel()}, 2e-5, "d qkv");
  testing::expect_close(bias.table.grad(), {gradient.begin() + qkv.numel(), gradient.end()}, 2e-5, "d table");
}

}  // namespace swin_bias_test
}  // namespace locant
