#include "position/axial_concat.h"

#include "core/error.h"
#include "position/sasa.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace axial_concat_test {

using testing::random_tensor;

TEST(AxialConcat, IndexOfFourPlacesByHand) {
  constexpr int kRows[4][4] = {{1, 2, 2, 2}, {0, 1, 2, 2}, {0, 0, 1, 2}, {0, 0, 0, 1}};
  const AxisIndices indices = axial_concat_indices(1, {1, 4, 2}, {1, 4, 3});
  for (std::int64_t a = 0; a < 4; ++a)
    for (std::int64_t b = 0; b < 4; ++b) {
      EXPECT_EQ(axial_concat_row(1, a, b), kRows[a][b]);
      EXPECT_EQ(indices.rows->row(a, b), kRows[a][b]);
    }
  EXPECT_EQ(indices.columns->extent(), 3);
  EXPECT_EQ(indices.columns->coordinates(), 2);
}

// With a window that holds the whole grid SASA is the same but for the halves' order and the scale.
TEST(AxialConcat, IsSasaOnTheWholeGridWithHalvesSwapped) {
  const Grid grid{1, 3, 3};
  constexpr std::int64_t kH = 2, kHalf = 2, kD = 2 * kHalf, kK = 2;
  const LocalWindow window = LocalWindow::centred(2 * kK + 1);
  const Tensor px = random_tensor({2 * kK + 1, kHalf}, 1), py = random_tensor({2 * kK + 1, kHalf}, 2);
  const Tensor q = random_tensor({1, 9, kH * kD}, 3), k = random_tensor({1, 9, kH * kD}, 4),
               v = random_tensor({1, 9, kH * kD}, 5);
  const auto swapped = [&](const Tensor& x) {
    Tensor out(x.shape());
    for (std::int64_t i = 0; i < x.numel(); ++i) out[i] = x[i / kD * kD + (i % kD + kHalf) % kD];
    return out;
  };
  AttentionOptions options;
  options.heads = kH;
  options.scale = 0.5f;
  options.terms = {
      axial_concat_term({}, {kK, Var(px), Var(py)}, Var(q), kH, 0.5f, axial_concat_indices(kK, grid, grid))};
  const Tensor axial = attention({}, Var(q), Var(k), Var(v), options).value();
  Tensor half = swapped(q);
  for (float& x : half.values()) x *= 0.5f;
  const auto maps = local_rows(grid, window);
  options.scale = 1.0f;
  options.rows = maps;
  options.terms = {sasa_term({}, {Var(py), Var(px)}, Var(half), kH, window, local_indices(*maps, 9, window))};
  const Tensor sasa = attention({}, Var(half), Var(swapped(k)), Var(v), options).value();
  testing::expect_close(axial, testing::to_double(sasa), 2e-6, "result");
}

TEST(AxialConcat, RefusesWhatDoesNotFit) {
  const Grid grid{1, 2, 3};
  const Var q(Tensor::zeros({1, 6, 8}));
  const AxisIndices indices = axial_concat_indices(2, grid, grid);
  const auto term = [&](const Tensor& px, const Tensor& py) {
    return axial_concat_term({}, {2, Var(px), Var(py)}, q, 2, 0.5f, indices);
  };
  EXPECT_NO_THROW(term(Tensor::zeros({5, 2}), Tensor::zeros({2, 5, 2})));
  EXPECT_THROW(term(Tensor::zeros({4, 2}), Tensor::zeros({5, 2})), Error);
  EXPECT_THROW(term(Tensor::zeros({5, 4}), Tensor::zeros({5, 2})), Error);
  EXPECT_THROW(axial_concat_indices(-1, grid, grid), Error);
  EXPECT_THROW(axial_concat_indices(2, {1, 0, 3}, grid), Error);
  EXPECT_THROW(axial_concat_term({}, {2, Var(Tensor::zeros({5, 1})), Var(Tensor::zeros({5, 1}))},
                                 Var(Tensor::zeros({1, 6, 6})), 2, 0.5f, indices),
               Error);
  try {
    term(Tensor::zeros({7, 2}), Tensor::zeros({5, 2}));
  } catch (const Error& e) {
    const std::string text = e.what();
    for (const char* part : {"axial_concat", "p_x", "(7, 2)", "(5, 2)"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

}  // namespace axial_concat_test
}  // namespace locant
