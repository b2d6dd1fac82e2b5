#include "position/relative_logits.h"

#include <cmath>

#include "core/error.h"
#include "tests/support/golden_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace relative_logits_test {

using testing::expect_golden;
using testing::golden_parameter;
using testing::random_tensor;

TEST(RelativeLogits, IndexOfFourPlacesByHand) {
  constexpr int kRows[4][4] = {{3, 4, 5, 6}, {2, 3, 4, 5}, {1, 2, 3, 4}, {0, 1, 2, 3}};
  const AxisIndices indices = relative_logits_indices({1, 2, 4});
  for (std::int64_t a = 0; a < 4; ++a)
    for (std::int64_t b = 0; b < 4; ++b) {
      EXPECT_EQ(relative_logits_row(4, a, b), kRows[a][b]);
      EXPECT_EQ(indices.columns->row(a, b), kRows[a][b]);
    }
  EXPECT_EQ(indices.rows->coordinate(5), 1);
  EXPECT_EQ(indices.columns->coordinate(5), 1);
  EXPECT_EQ(indices.columns->coordinate(7), 3);
}

// A 3 x 3 grid in blocks of 2 with a halo of 1: the lower right block has one token, place (0, 0).
TEST(RelativeLogits, HaloByHand) {
  const Grid grid{1, 3, 3};
  const auto maps = halo_rows(grid, 2, 1);
  ASSERT_EQ(maps->groups, 4);
  EXPECT_EQ(maps->queries, 4);
  EXPECT_EQ(maps->keys, 16);
  const std::vector<std::int32_t> queries(maps->query_rows.end() - 4, maps->query_rows.end());
  const std::vector<std::int32_t> keys(maps->key_rows.end() - 16, maps->key_rows.end());
  EXPECT_EQ(queries, (std::vector<std::int32_t>{8, -1, -1, -1}));
  EXPECT_EQ(keys, (std::vector<std::int32_t>{4, 5, -1, -1, 7, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1}));
  const AxisIndices indices = halo_indices(*maps, 9, 2, 1);
  EXPECT_EQ(indices.columns->coordinate(8), 0);
  EXPECT_EQ(indices.columns->coordinate(7), 1);
  constexpr int kRows[2][4] = {{3, 4, 5, 6}, {2, 3, 4, 5}};  // of a window of 4
  for (std::int64_t a = 0; a < 2; ++a)
    for (std::int64_t b = 0; b < 4; ++b) EXPECT_EQ(indices.rows->row(a, b), kRows[a][b]);
}

// Every second place of blocks of 4 asks, counted in strides: 5 x 3 places in two blocks, zeros outside.
TEST(RelativeLogits, StridedHaloIsTheEquation) {
  const std::int64_t rows = 5, columns = 3, block = 4, halo = 1, stride = 2, window = 6, H = 2, D = 3;
  const std::int64_t down = 3, across = 2;  // queries
  const Tensor q = testing::random_tensor({1, down * across, H * D}, 1, 2.0f),
               k = testing::random_tensor({1, rows * columns, H * D}, 2, 2.0f),
               v = testing::random_tensor({1, rows * columns, H * D}, 3),
               height = testing::random_tensor({2 * window - 1, D}, 4, 2.0f),
               width = testing::random_tensor({2 * window - 1, D}, 5, 2.0f);
  const auto maps = halo_rows({1, rows, columns}, block, halo, stride);
  ASSERT_EQ(maps->groups, 2);
  EXPECT_EQ(maps->queries, 4);
  EXPECT_EQ(maps->keys, 36);
  AttentionOptions options;
  options.heads = H;
  options.scale = 0.5f;
  options.rows = maps;
  options.zero_pad = true;
  options.terms = {relative_logits_term({}, {Var(height), Var(width), false, false}, Var(q), H, 0.5f,
                                        halo_indices(*maps, down * across, block, halo, stride))};
  std::vector<double> want;
  for (std::int64_t y = 0; y < down; ++y)
    for (std::int64_t x = 0; x < across; ++x)
      for (std::int64_t h = 0; h < H; ++h) {
        const float* query = q.data() + (y * across + x) * H * D + h * D;
        const std::int64_t top = y * stride / block * block, left = x * stride / block * block;
        double total = 0.0, sum[3] = {};
        for (std::int64_t r = 0; r < window; ++r)
          for (std::int64_t c = 0; c < window; ++c) {
            const std::int64_t row = top - halo + r, column = left - halo + c,
                               at = (row * columns + column) * H * D;
            const bool inside = row >= 0 && column >= 0 && row < rows && column < columns;
            double score = 0.0;
            for (std::int64_t d = 0; d < D; ++d) {
              if (inside) score += 0.5 * query[d] * k[at + h * D + d];
              score += query[d] * height[(r - y % 2 + window - 1) * D + d];
              score += query[d] * width[(c - x % 2 + window - 1) * D + d];
            }
            total += std::exp(score);
            for (std::int64_t d = 0; d < D && inside; ++d) sum[d] += std::exp(score) * v[at + h * D + d];
          }
        for (const double x_d : sum) want.push_back(x_d / total);
      }
  testing::expect_close(attention({}, Var(q), Var(k), Var(v), options).value(), want, 1e-5, "result");
}

TEST(RelativeLogits, BotnetGolden) {
  const Var q(golden_parameter({1, 6, 4}, 0)), k(golden_parameter({1, 6, 4}, 1)),
      v(golden_parameter({1, 6, 4}, 2));
  const auto run = [&](bool scaled) {
    const RelativeLogits tables{Var(golden_parameter({3, 4}, 3)), Var(golden_parameter({5, 4}, 4)), false,
                                scaled};
    AttentionOptions options;
    options.terms = {relative_logits_term({}, tables, q, 1, 0.5f, relative_logits_indices({1, 2, 3}))};
    return attention({}, q, k, v, options).value();
  };
  expect_golden(run(true),
                {0.001445,  0.084133,  0.043566,  -0.060826, -0.043983, 0.023890,  0.056765,  0.006479,
                 -0.040144, -0.039475, 0.019025,  0.049653,  0.010247,  -0.035595, -0.029290, 0.019925,
                 0.038085,  0.034045,  -0.019871, -0.044676, 0.038554,  0.094719,  0.012120,  -0.088235});
  expect_golden(run(false),
                {-0.021342, 0.098297,  0.073931,  -0.058744, -0.042241, 0.027676,  0.057047,  0.002844,
                 -0.012439, -0.032302, -0.004842, 0.029712,  0.019632,  -0.035514, -0.038632, 0.014846,
                 0.003056,  0.043207,  0.020060,  -0.032475, 0.016699,  0.137918,  0.057087,  -0.107377});
}

TEST(RelativeLogits, RefusesWhatDoesNotFit) {
  const Var q(Tensor::zeros({1, 6, 8}));
  const auto term = [&](const Tensor& rows, const Tensor& columns) {
    return relative_logits_term({}, {Var(rows), Var(columns)}, q, 2, 0.5f,
                                relative_logits_indices({1, 2, 3}));
  };
  EXPECT_NO_THROW(term(Tensor::zeros({3, 4}), Tensor::zeros({5, 4})));
  EXPECT_THROW(term(Tensor::zeros({5, 4}), Tensor::zeros({3, 4})), Error);
  EXPECT_THROW(term(Tensor::zeros({3, 4}), Tensor::zeros({5, 3})), Error);
  EXPECT_THROW(relative_logits_indices({1, 0, 3}), Error);
  EXPECT_THROW(absolute_logits_indices({1, 2, -1}), Error);
  EXPECT_THROW(relative_logits_indices({2, 2, 3}), Error);
  EXPECT_THROW(halo_rows({1, 4, 4}, 0, 1), Error);
  EXPECT_THROW(halo_rows({1, 4, 4}, 2, -1), Error);
  EXPECT_THROW(halo_rows({1, 4, 4}, 3, 1, 2), Error);
  EXPECT_THROW(halo_rows({1, 4, 4}, 2, 1, 0), Error);
  EXPECT_THROW(halo_indices(*halo_rows({1, 4, 4}, 2, 1), 16, 2, 1, 2), Error);
  EXPECT_THROW(halo_indices(*halo_rows({1, 4, 4}, 2, 1), 16, 2, 2), Error);
  EXPECT_THROW(halo_indices(*halo_rows({1, 4, 4}, 2, 1), 16, std::int64_t{1} << 40, 1), Error);
  EXPECT_THROW(halo_indices(*halo_rows({1, 4, 4}, 2, 1), -16, 2, 1), Error);
  EXPECT_THROW(relative_logits_indices({1, 1, 1 << 20}), Error);  // 2^40 pairs of places
  try {
    term(Tensor::zeros({3, 4}), Tensor::zeros({6, 4}));
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"relative_logits", "rel_width", "(6, 4)", "(5, 4)"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace relative_logits_test
}  // namespace locant
