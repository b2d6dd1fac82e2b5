#include "ops/resize.h"

#include <cmath>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace resize_test {

using testing::random_tensor;

constexpr ResizeRule kRules[] = {ResizeRule::bilinear, ResizeRule::bicubic, ResizeRule::bicubic_antialias,
                                 ResizeRule::bilinear_antialias, ResizeRule::bicubic_corners};

// Column t_k = cos(0.37 k) of m rows, resized to n rows.
Tensor cosine_column(std::int64_t m, std::int64_t n, ResizeRule rule, double offset) {
  Tensor column({1, m, 1, 1});
  for (std::int64_t k = 0; k < m; ++k)
    column[k] = static_cast<float>(std::cos(0.37 * static_cast<double>(k)));
  return resize({}, Var(column), n, 1, rule, offset).value();
}

// Position tables of DINOv2: first and last four of 37 -> 16, all of 5 -> 7, computed by Meta's and Hugging
// Face's code.
TEST(Resize, GoldenColumns) {
  struct Golden {
    ResizeRule rule;
    double offset;
    std::vector<float> shrunk, enlarged;
  };
  const Golden goldens[] = {
      {ResizeRule::bicubic,
       0.1,
       {0.976423f, 0.469080f, -0.378505f, -0.945190f, -0.511920f, 0.294431f, 0.908053f, 0.902220f},
       {1.005450f, 0.981846f, 0.890118f, 0.750926f, 0.565084f, 0.285479f, 0.073168f}},
      {ResizeRule::bicubic,
       0.0,
       {0.975921f, 0.459407f, -0.390211f, -0.949775f, -0.462851f, 0.349409f, 0.942906f, 0.854646f},
       {1.005327f, 0.981085f, 0.886628f, 0.738469f, 0.552406f, 0.265211f, 0.062807f}},
      {ResizeRule::bicubic_antialias,
       0.0,
       {0.949880f, 0.458881f, -0.372330f, -0.937881f, -0.462472f, 0.358926f, 0.930473f, 0.872910f},
       {1.003942f, 0.975021f, 0.889050f, 0.738469f, 0.535907f, 0.269216f, 0.070051f}}};
  for (const Golden& golden : goldens) {
    const Tensor shrunk = cosine_column(37, 16, golden.rule, golden.offset);
    for (std::int64_t i = 0; i < 8; ++i)
      EXPECT_NEAR(shrunk[i < 4 ? i : i + 8], golden.shrunk[static_cast<std::size_t>(i)], 2e-6);
    const Tensor enlarged = cosine_column(5, 7, golden.rule, golden.offset);
    for (std::int64_t i = 0; i < 7; ++i)
      EXPECT_NEAR(enlarged[i], golden.enlarged[static_cast<std::size_t>(i)], 2e-6);
  }
}

TEST(Resize, WorkedBilinear) {
  // 2 -> 4: sources -0.25 (clamped), 0.25, 0.75, 1.25 (clamped). 4 -> 2 antialiased: support 2, centres 1 and
  // 3, triangle weights 3/8, 3/8, 1/8 of 7/8 at the border.
  const auto line = [](std::vector<float> in, std::int64_t n, ResizeRule rule) {
    const std::int64_t m = static_cast<std::int64_t>(in.size());
    return resize({}, Var(Tensor::from({1, 1, m, 1}, in)), 1, n, rule).value();
  };
  const Tensor up = line({0, 1}, 4, ResizeRule::bilinear);
  EXPECT_FLOAT_EQ(up[0], 0.0f);
  EXPECT_FLOAT_EQ(up[1], 0.25f);
  EXPECT_FLOAT_EQ(up[2], 0.75f);
  EXPECT_FLOAT_EQ(up[3], 1.0f);
  const Tensor down = line({0, 1, 2, 3}, 2, ResizeRule::bilinear_antialias);
  EXPECT_NEAR(down[0], (0 * 3 + 1 * 3 + 2 * 1) / 7.0, 1e-6);
  EXPECT_NEAR(down[1], (1 * 1 + 2 * 3 + 3 * 3) / 7.0, 1e-6);
  const Tensor plain = line({0, 1, 2, 3}, 2, ResizeRule::bilinear);
  EXPECT_FLOAT_EQ(plain[0], 0.5f);
  EXPECT_FLOAT_EQ(plain[1], 2.5f);
}

TEST(Resize, CornersStayCorners) {
  const Tensor grid = random_tensor({1, 4, 5, 2}, 1);
  const Tensor y = resize({}, Var(grid), 7, 9, ResizeRule::bicubic_corners).value();
  for (std::int64_t c = 0; c < 2; ++c) {
    EXPECT_NEAR(y[c], grid[c], 1e-6);
    EXPECT_NEAR(y[y.numel() - 2 + c], grid[grid.numel() - 2 + c], 1e-6);
  }
  // x = i (m - 1) / (n - 1) = 1.5 midway in 4 -> 7: taps -3/32, 19/32, 19/32, -3/32 with a = -0.75.
  const double middle = (-3 * grid[0] + 19 * grid[10] + 19 * grid[20] - 3 * grid[30]) / 32.0;
  EXPECT_NEAR(resize({}, Var(grid), 7, 5, ResizeRule::bicubic_corners).value()[3 * 10], middle, 1e-6);
}

TEST(Resize, SameSizeIsTheIdentity) {
  const Tensor grid = random_tensor({2, 3, 5, 4}, 1);
  for (const ResizeRule rule : kRules)
    EXPECT_LE(
        testing::worst_error(resize({}, Var(grid), 3, 5, rule).value().values(), testing::to_double(grid)),
        1e-6);
}

TEST(Resize, ConstantsStayConstant) {
  for (const ResizeRule rule : kRules)
    for (const auto& [rows, columns] : {std::array<std::int64_t, 2>{1, 1}, {2, 9}, {13, 3}}) {
      const Tensor y = resize({}, Var(Tensor::full({1, 5, 6, 3}, 2.0f)), rows, columns, rule).value();
      for (const float v : y.values()) EXPECT_NEAR(v, 2.0f, 2e-6f);
    }
}

// The map is linear: its matrix, column by column, gives result and gradient of any grid.
TEST(Resize, GradientIsTheTranspose) {
  for (const ResizeRule rule : kRules)
    for (const auto& [H, W, rows, columns] :
         {std::array<std::int64_t, 4>{1, 1, 1, 1}, {1, 4, 3, 2}, {5, 3, 2, 7}, {4, 6, 9, 5}}) {
      const std::int64_t C = 2, inputs = H * W * C;
      std::vector<Tensor> matrix;
      for (std::int64_t i = 0; i < inputs; ++i) {
        Tensor unit = Tensor::zeros({1, H, W, C});
        unit[i] = 1.0f;
        matrix.push_back(resize({}, Var(unit), rows, columns, rule).value());
      }
      testing::expect_op(
          "resize", {random_tensor({2, H, W, C}, 1)},
          [&, rows = rows, columns = columns](const Context& ctx, const auto& v) {
            return resize(ctx, v[0], rows, columns, rule);
          },
          [&](const auto& in) {
            using T = typename std::decay_t<decltype(in[0])>::value_type;
            const auto outputs = static_cast<std::size_t>(matrix[0].numel());
            std::vector<T> y(2 * outputs);
            for (std::size_t i = 0; i < in[0].size(); ++i)
              for (std::size_t o = 0; o < outputs; ++o)
                y[i / matrix.size() * outputs + o] +=
                    in[0][i] * static_cast<double>(matrix[i % matrix.size()][static_cast<std::int64_t>(o)]);
            return y;
          });
    }
}

TEST(Resize, BadArgumentsAreErrors) {
  const Var grid(Tensor::zeros({1, 3, 4, 2}));
  EXPECT_THROW(resize({}, grid, 0, 4, ResizeRule::bilinear), Error);
  EXPECT_THROW(resize({}, grid, 4, -1, ResizeRule::bilinear), Error);
  EXPECT_THROW(resize({}, grid, 4, 4, ResizeRule::bilinear, 0.1), Error);
  EXPECT_THROW(resize({}, grid, 4, 4, ResizeRule::bicubic, -1.0), Error);
  EXPECT_THROW(resize({}, Var(Tensor::zeros({3, 4, 2})), 4, 4, ResizeRule::bilinear), Error);
  EXPECT_THROW(resize({}, Var(Tensor({1, 0, 4, 2})), 4, 4, ResizeRule::bilinear), Error);
}

}  // namespace resize_test
}  // namespace locant
