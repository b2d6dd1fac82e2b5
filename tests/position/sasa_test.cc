#include "position/sasa.h"

#include "core/error.h"
#include "tests/position/sine_numbers.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace sasa_test {

using testing::expect_golden;
using testing::golden_parameter;
using testing::mapped;

TEST(Sasa, PlacesOfAWindowByHand) {
  constexpr int kRows[3][5] = {{0, 1, 2, -1, -1}, {-1, 0, 1, 2, -1}, {-1, -1, 0, 1, 2}};
  for (std::int64_t a = 0; a < 3; ++a)
    for (std::int64_t b = 0; b < 5; ++b) EXPECT_EQ(local_row(3, a, b), kRows[a][b]);
  const LocalWindow seven = LocalWindow::centred(7);
  EXPECT_EQ(seven.rows, 7);
  EXPECT_EQ(seven.left, 3);
}

// A 2 x 3 grid in blocks of 1 x 2, windows of 3: the second block holds token 2 and a padding slot.
TEST(Sasa, RowMapsByHand) {
  const Grid grid{1, 2, 3}, block{1, 1, 2};
  const auto maps = local_rows(grid, LocalWindow::centred(3), block);
  ASSERT_EQ(maps->groups, 4);
  EXPECT_EQ(maps->keys, 12);
  EXPECT_EQ(maps->box_columns, 4);
  const std::vector<std::int32_t> queries(maps->query_rows.begin() + 2, maps->query_rows.begin() + 4);
  const std::vector<std::int32_t> keys(maps->key_rows.begin() + 12, maps->key_rows.begin() + 24);
  const std::vector<std::int32_t> boxes(maps->query_box.begin() + 8, maps->query_box.begin() + 16);
  EXPECT_EQ(queries, (std::vector<std::int32_t>{2, -1}));
  EXPECT_EQ(keys, (std::vector<std::int32_t>{-1, -1, -1, -1, 1, 2, -1, -1, 4, 5, -1, -1}));
  EXPECT_EQ(boxes, (std::vector<std::int32_t>{0, 3, 0, 3, 0, 3, 1, 4}));
  const auto gather = local_gather(LocalWindow::centred(3), block);
  constexpr int kFirst[12] = {0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1};
  for (int j = 0; j < 12; ++j) {
    EXPECT_EQ(mapped(*gather, 0, j), kFirst[j]);
    EXPECT_EQ(mapped(*gather, 1, j), j % 4 == 0 ? -1 : kFirst[j - 1]);
  }
}

TEST(Sasa, GoldenWithMaskedAndWithZeroKeysOutside) {
  const Grid grid{1, 2, 3};
  const Var q(golden_parameter({1, 6, 4}, 0)), k(golden_parameter({1, 6, 4}, 1)),
      v(golden_parameter({1, 6, 4}, 2));
  const Sasa tables{Var(golden_parameter({3, 2}, 3)), Var(golden_parameter({3, 2}, 4))};
  const LocalWindow window = LocalWindow::centred(3);
  const auto run = [&](bool zeros, const Grid& block) {
    AttentionOptions options;
    options.scale = 1.0f;
    options.zero_pad = zeros;
    const auto maps = local_rows(grid, window, block);
    options.rows = maps;
    options.terms = {sasa_term({}, tables, q, 1, window, local_indices(*maps, 6, window, block))};
    return attention({}, q, k, v, options).value();
  };
  for (const Grid& block : {Grid{1, 8, 8}, Grid{1, 1, 2}, Grid{1, 2, 1}}) {
    expect_golden(run(false, block),
                  {0.036411,  0.083911,  0.008481,  -0.079374, -0.058207, 0.007562,  0.062253,  0.025743,
                   -0.176710, -0.021141, 0.165400,  0.109629,  0.089602,  -0.144368, -0.166838, 0.055110,
                   0.140981,  0.023850,  -0.128221, -0.092448, 0.114179,  0.096489,  -0.062558, -0.129957});
    expect_golden(run(true, block),
                  {0.015433,  0.035566,  0.003595,  -0.033643, -0.039699, 0.005157,  0.042459,  0.017558,
                   -0.090593, -0.010838, 0.084794,  0.056203,  0.042859,  -0.069055, -0.079803, 0.026361,
                   0.103356,  0.017485,  -0.094002, -0.067775, 0.055439,  0.046850,  -0.030375, -0.063100});
  }
}

TEST(Sasa, RefusesWhatDoesNotFit) {
  const LocalWindow window = LocalWindow::centred(3);
  const auto maps = local_rows({1, 2, 3}, window);
  const AxisIndices indices = local_indices(*maps, 6, window);
  const Var q(Tensor::zeros({1, 6, 8}));
  const auto term = [&](const Tensor& rows, const Tensor& columns) {
    return sasa_term({}, {Var(rows), Var(columns)}, q, 2, window, indices);
  };
  EXPECT_NO_THROW(term(Tensor::zeros({3, 2}), Tensor::zeros({2, 3, 2})));
  EXPECT_THROW(term(Tensor::zeros({4, 2}), Tensor::zeros({3, 2})), Error);
  EXPECT_THROW(term(Tensor::zeros({3, 2}), Tensor::zeros({3, 4})), Error);
  EXPECT_THROW(sasa_term({}, {}, Var(Tensor::zeros({1, 6, 6})), 2, window, indices), Error);  // odd heads
  EXPECT_THROW(
      sasa_channel_term({}, {Var(Tensor::zeros({2, 1, 1, 3, 1})), Var(Tensor::zeros({2, 1, 1, 3, 1}))}, 4,
                        window, local_gather(window)),
      Error);
  EXPECT_THROW(local_rows({1, 2, 3}, {0, 3, 0, 1}), Error);
  EXPECT_THROW(local_rows({1, 2, 3}, {3, 3, 3, 1}), Error);
  EXPECT_THROW(local_rows({1, 0, 3}, window), Error);
  EXPECT_THROW(local_gather(window, {1, -1, 3}), Error);
  try {
    term(Tensor::zeros({3, 2}), Tensor::zeros({5, 2}));
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"sasa", "rel_w", "(5, 2)", "(3, 2)"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace sasa_test
}  // namespace locant
