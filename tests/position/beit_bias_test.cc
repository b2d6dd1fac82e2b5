#include "position/beit_bias.h"

#include "core/error.h"
#include "ops/elementwise.h"
#include "ops/linear.h"
#include "ops/rearrange.h"
#include "position/catalogue/all.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace beit_bias_test {

using testing::cosine;
using testing::rows_by_map;
using testing::sine;

static_assert(beit_table_rows({14, 14}) == 732);
static_assert(beit_index({2, 2}, 0, 0) == 11 && beit_index({2, 2}, 0, 3) == 9 &&
              beit_index({2, 2}, 4, 0) == 10);

TEST(BeitBias, TwoByTwoOfTheSpec) {
  constexpr int kGolden[25] = {11, 9, 9,  9, 9, 10, 4, 3,  1, 0, 10, 5, 4,
                               2,  1, 10, 7, 6, 4,  3, 10, 8, 7, 5,  4};
  const auto rows = rows_by_map(*beit_gather({2, 2}));
  ASSERT_EQ(rows.size(), 25u);
  for (int n = 0; n < 25; ++n) {
    EXPECT_EQ(rows[static_cast<std::size_t>(n)], kGolden[n]) << n;
    EXPECT_EQ(beit_index({2, 2}, n / 5, n % 5), kGolden[n]) << n;
  }
}

TEST(BeitBias, ThreeByThreeIsSwinBesideTheClassToken) {
  const Window grid{3, 3};
  const auto rows = rows_by_map(*beit_gather(grid));
  for (std::int64_t i = 0; i < 10; ++i)
    for (std::int64_t j = 0; j < 10; ++j) {
      const std::int64_t want = i == 0 ? (j == 0 ? 27 : 25) : j == 0 ? 26 : swin_index(grid, i - 1, j - 1);
      EXPECT_EQ(rows[static_cast<std::size_t>(i * 10 + j)], want) << i << ", " << j;
    }
}

// The spec's golden layer: C 4, two heads, class token and 2 x 2 patches.
TEST(BeitBias, GoldenAttentionOfTheSpec) {
  const std::vector<double> want = {0.575574,  0.767770,  -0.051909, -0.824769, 0.610809,
                                    0.702492,  -0.148311, -0.849823, 0.491894,  0.714811,
                                    -0.017853, -0.739898, 0.434945,  0.713845,  0.038190,
                                    -0.686417, 0.580944,  0.758623,  -0.065850, -0.828685};
  const Context ctx;
  const Var bias = concat_axis(ctx, {sine({4}, 0), Var(Tensor::zeros({4})), sine({4}, 1)}, 0);
  const Var qkv = add(ctx, linear(ctx, cosine({1, 5, 4}), sine({12, 4}, 3), {}), bias);
  AttentionOptions options;
  options.heads = 2;
  options.terms = {beit_bias_term({{2, 2}, sine({12, 2}, 2)}, 2)};
  const Var out = linear(ctx, attention(ctx, qkv, options), sine({4, 4}, 4), sine({4}, 5));
  testing::expect_golden(out.value(), want);
}

TEST(BeitBias, GeometricCoordinatesOfTheSpec) {
  EXPECT_NEAR(beit_resize_ratio(27, 47), 1.090307, 1e-6);
  EXPECT_NEAR(beit_resize_ratio(13, 23), 1.240724, 1e-6);
  constexpr double kWide[13] = {1,       2.0903,  3.2791,  4.5752,  5.9884,  7.5292, 9.2091,
                                11.0408, 13.0378, 15.2152, 17.5893, 20.1777, 22.9999};
  const auto wide = beit_resize_coordinates(27, 47);
  ASSERT_EQ(wide.size(), 27u);
  for (std::size_t n = 0; n < 13; ++n) {
    EXPECT_NEAR(wide[14 + n], kWide[n], 1e-4);
    EXPECT_EQ(wide[12 - n], -wide[14 + n]);
  }
  EXPECT_EQ(wide[13], 0);
  constexpr double kSmall[6] = {1, 2.2407, 3.7801, 5.6901, 8.0598, 11.0000};
  const auto small = beit_resize_coordinates(13, 23);
  for (std::size_t n = 0; n < 6; ++n) EXPECT_NEAR(small[7 + n], kSmall[n], 1e-4);
  EXPECT_NEAR(beit_resize_ratio(27, 13), 1.01, 1e-5);  // shrinking: the least ratio
}

Tensor cosine_table(Window grid) {
  Tensor out({beit_table_rows(grid), 2});
  for (std::int64_t row = 0; row < out.dim(0); ++row) {
    out[2 * row] = static_cast<float>(std::cos(0.37 * static_cast<double>(row)));
    out[2 * row + 1] = 5.0f;
  }
  return out;
}

// Against FITPACK's interpolating tensor spline on the same coordinates (SciPy's RectBivariateSpline, which
// interp2d's cubic is), ends clamped.
TEST(BeitBias, CubicResizeIsFitpacks) {
  const struct {
    Window from, to;
    std::vector<std::pair<int, double>> want;
  } kCases[] = {{{3, 4},
                 {5, 6},
                 {{0, 1.0},
                  {8, -0.3587118},
                  {17, 0.0906716},
                  {26, -1.6067645},
                  {35, -0.9541606},
                  {44, 0.4507551},
                  {53, 0.5263355},
                  {62, -1.0008612},
                  {71, -1.7035037},
                  {80, -0.1631522},
                  {89, -0.4880046},
                  {98, 0.9999071}}},
                {{7, 7},
                 {12, 12},
                 {{0, 1.0000058},
                  {48, 0.8499845},
                  {96, -0.05162},
                  {144, -0.8302476},
                  {192, -0.7515202},
                  {240, 0.7198162},
                  {288, 0.1313042},
                  {336, -0.9909972},
                  {384, -0.3298156},
                  {432, 0.5702864},
                  {480, 1.1158897},
                  {528, 0.7826808}}}};
  for (const auto& c : kCases) {
    const Tensor table = cosine_table(c.from);
    const Tensor out = resize_beit_bias({}, Var(table), c.from, c.to).value();
    ASSERT_EQ(out.shape(), (Shape{beit_table_rows(c.to), 2}));
    for (const auto& [row, value] : c.want) EXPECT_NEAR(out[2 * row], value, 3e-6) << row;
    for (std::int64_t row = 0; row < out.dim(0); ++row) EXPECT_NEAR(out[2 * row + 1], 5.0, 1e-5);
    for (std::int64_t n = 1; n <= 6; ++n)  // the class token's rows
      EXPECT_EQ(out[out.numel() - n], table[table.numel() - n]);
  }
}

TEST(BeitBias, ResizeCarriesGradientsAndKeepsEqualGrids) {
  const Var table(cosine_table({3, 3}), true);
  EXPECT_EQ(resize_beit_bias({}, table, {3, 3}, {3, 3}).value().data(), table.value().data());
  for (const BeitResize rule : {BeitResize::cubic, BeitResize::linear}) {
    Var(table).clear_grad();
    Tape tape;
    const Var out = resize_beit_bias({.tape = &tape}, table, {3, 3}, {4, 5}, rule);
    tape.backward({{out, Tensor::full(out.shape(), 1.0f)}});
    double sum = 0;  // weights of each new row sum to 1
    for (const float g : table.grad().values()) sum += g;
    EXPECT_NEAR(sum, static_cast<double>(out.value().numel()), 1e-3);
  }
}

TEST(BeitBias, RefusesWhatDoesNotFit) {
  EXPECT_THROW(beit_bias_term({{2, 2}, sine({9, 2}, 0)}, 2), Error);  // Swin's rows only
  EXPECT_THROW(beit_bias_term({{2, 2}, sine({12, 3}, 0)}, 2), Error);
  EXPECT_THROW(beit_bias_term({{2, -2}, sine({12, 2}, 0)}, 2), Error);
  EXPECT_THROW(beit_gather({2, 2}, -1), Error);
  EXPECT_THROW(resize_beit_bias({}, sine({12, 2}, 0), {3, 3}, {4, 4}), Error);
  EXPECT_THROW(resize_beit_bias({}, sine({4, 2}, 0), {1, 1}, {4, 4}), Error);   // no cubic through one point
  EXPECT_THROW(resize_beit_bias({}, sine({12, 2}, 0), {2, 2}, {4, 4}), Error);  // nor through three
  EXPECT_NO_THROW(resize_beit_bias({}, sine({4, 2}, 0), {1, 1}, {4, 4}, BeitResize::linear));
  EXPECT_THROW(beit_resize_coordinates(4, 7), Error);
  EXPECT_THROW(beit_resize_coordinates((std::int64_t{1} << 40) + 1, 7), Error);
  EXPECT_THROW(kBeitBias.make({.query = {1, 2, 2}, .key = {1, 2, 3}, .prefix = 1}), Error);
}

}  // namespace beit_bias_test
}  // namespace locant
