#include "position/levit_bias.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/rearrange.h"
#include "position/catalogue/all.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace levit_bias_test {

using testing::cosine;
using testing::expect_golden;
using testing::rows_by_map;
using testing::sine;

static_assert(levit_query_side(14, 2) == 7 && levit_query_side(7, 2) == 4 && levit_query_side(14, 1) == 14);

TEST(LevitBias, TwoByTwoOfTheSpec) {
  constexpr int kGolden[16] = {0, 1, 2, 3, 1, 0, 3, 2, 2, 3, 0, 1, 3, 2, 1, 0};
  const auto rows = rows_by_map(*levit_gather({2, 2}, 1));
  for (int n = 0; n < 16; ++n) EXPECT_EQ(rows[static_cast<std::size_t>(n)], kGolden[n]) << n;
}

// The official index: numbers in order of first appearance of the displacement.
TEST(LevitBias, IsTheOrderOfFirstAppearance) {
  for (const Window key : {Window{3, 3}, Window{4, 4}, Window{2, 5}, Window{7, 7}})
    for (const std::int64_t step : {1, 2}) {
      const std::int64_t rows = levit_query_side(key.rows, step),
                         columns = levit_query_side(key.columns, step);
      const auto map = rows_by_map(*levit_gather(key, step));
      ASSERT_EQ(static_cast<std::int64_t>(map.size()), rows * columns * key.tokens());
      std::vector<std::pair<std::int64_t, std::int64_t>> seen;
      for (std::int64_t n = 0; n < rows * columns * key.tokens(); ++n) {
        const std::int64_t i = n / key.tokens(), j = n % key.tokens();
        const std::pair offset(std::abs(step * (i / columns) - j / key.columns),
                               std::abs(step * (i % columns) - j % key.columns));
        auto found = std::find(seen.begin(), seen.end(), offset);
        if (found == seen.end()) found = seen.insert(seen.end(), offset);
        EXPECT_EQ(map[static_cast<std::size_t>(n)], found - seen.begin());
        EXPECT_EQ(levit_index(key, columns, step, i, j), found - seen.begin());
      }
    }
}

// q, k and v of a head beside each other, heads outermost: (B, N, H (2 kd + dv)).
struct Split {
  Var q, k, v;
};
Split split(const Var& qkv, std::int64_t heads, std::int64_t kd, std::int64_t dv) {
  const std::int64_t N = qkv.dim(1);
  const Var x = reshape({}, qkv, {1, N, heads, 2 * kd + dv});
  const auto part = [&](std::int64_t begin, std::int64_t width) {
    return reshape({}, slice_axis({}, x, 3, begin, begin + width), {1, N, heads * width});
  };
  return {part(0, kd), part(kd, kd), part(2 * kd, dv)};
}

TEST(LevitBias, GoldenAttentionOfLevit) {
  const std::vector<double> want = {0.099954,  -0.078144, -0.012278, 0.091920, 0.057295, -0.032584,
                                    -0.020736, 0.055850,  -0.068426, 0.057833, 0.003539, -0.061803,
                                    -0.024672, 0.013816,  0.009171,  -0.024106};
  const float norm = 1.0f / std::sqrt(1.0f + 1e-5f);  // batch norms at their start
  const Split s = split(affine({}, linear({}, cosine({1, 4, 4}), sine({16, 4}, 1), {}), norm), 2, 2, 4);
  AttentionOptions options;
  options.heads = 2;
  options.terms = {levit_bias_term({}, {{2, 2}, sine({2, 4}, 0)}, 2)};
  const Var out = hard_swish({}, attention({}, s.q, s.k, s.v, options));
  expect_golden(affine({}, linear({}, out, sine({4, 8}, 2), {}), norm).value(), want);
}

TEST(LevitBias, GoldenAttentionOfTinyVit) {
  const std::vector<double> want = {-0.123582, 0.316311,  0.220634, -0.137937, 0.034219, 0.459567,
                                    0.197069,  -0.303275, 0.263640, 1.052717,  0.523449, -0.590596,
                                    0.042104,  0.683853,  0.399346, -0.338020};
  const Var normed =
      layer_norm({}, cosine({1, 4, 4}), Var(Tensor::full({4}, 1.0f)), Var(Tensor::zeros({4})), 1e-5f);
  const Split s = split(linear({}, normed, sine({12, 4}, 1), sine({12}, 2)), 2, 2, 2);
  AttentionOptions options;
  options.heads = 2;
  options.terms = {levit_bias_term({}, {{2, 2}, sine({2, 4}, 0)}, 2)};
  const Var out = attention({}, s.q, s.k, s.v, options);
  expect_golden(linear({}, out, sine({4, 4}, 3), sine({4}, 4)).value(), want);
}

TEST(LevitBias, ResizeIsBicubicByHead) {
  const Var table = sine({2, 9}, 0);
  const Tensor out = resize_levit_bias({}, table, {3, 3}, {5, 4}).value();
  ASSERT_EQ(out.shape(), (Shape{2, 20}));
  const Tensor constant = resize_levit_bias({}, Var(Tensor::full({2, 9}, 2.5f)), {3, 3}, {5, 4}).value();
  for (const float x : constant.values()) EXPECT_NEAR(x, 2.5f, 1e-6f);
  // Row 0, column 0 of head 1: both axes read at -0.2 and -0.125, four taps with a = -0.75, borders clamped.
  const auto kernel = [](double x) {
    constexpr double a = -0.75;
    x = std::abs(x);
    if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
    return x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0.0;
  };
  const double at_y = 0.5 * 3 / 5 - 0.5, at_x = 0.5 * 3 / 4 - 0.5;
  double want = 0;
  for (int y = -2; y <= 1; ++y)
    for (int x = -2; x <= 1; ++x)
      want += kernel(at_y - y) * kernel(at_x - x) *
              table.value()[9 + std::clamp(y, 0, 2) * 3 + std::clamp(x, 0, 2)];
  EXPECT_NEAR(out[20], want, 1e-6);
}

TEST(LevitBias, RefusesWhatDoesNotFit) {
  EXPECT_THROW(levit_bias_term({}, {{2, 2}, sine({2, 3}, 0)}, 2), Error);
  EXPECT_THROW(levit_bias_term({}, {{2, 2}, sine({4, 2}, 0)}, 2), Error);  // the other way round
  EXPECT_THROW(levit_bias_term({}, {{2, 2}, sine({2, 4}, 0)}, 3), Error);
  EXPECT_THROW(levit_bias_term({}, {{-2, -2}, sine({2, 4}, 0)}, 2), Error);
  EXPECT_THROW(levit_gather({2, 2}, 0), Error);
  EXPECT_THROW(levit_gather({0, 2}, 1), Error);
  EXPECT_THROW(resize_levit_bias({}, sine({2, 9}, 0), {2, 2}, {3, 3}), Error);
  EXPECT_THROW(kLevitBias.make({.query = {1, 3, 3}, .key = {1, 4, 4}}), Error);
}

}  // namespace levit_bias_test
}  // namespace locant
