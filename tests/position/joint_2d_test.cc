#include "position/joint_2d.h"

#include "core/error.h"
#include "position/decomposed.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace joint_2d_test {

using testing::random_tensor;

TEST(Joint2d, IndexOfA3x3GridByHand) {
  const Grid grid{1, 3, 3};
  // Token 4 is the middle: it sees token 0 one row and one column before itself.
  constexpr int kMiddle[9] = {18, 17, 16, 13, 12, 11, 8, 7, 6};
  const auto gather = joint_2d_gather(grid);
  EXPECT_EQ(joint_2d_rows(grid), 25);
  EXPECT_EQ(joint_2d_row(grid, 0, 8), 0);
  EXPECT_EQ(joint_2d_row(grid, 8, 0), 24);
  for (std::size_t j = 0; j < 9; ++j) {
    EXPECT_EQ(joint_2d_row(grid, 4, static_cast<std::int64_t>(j)), kMiddle[j]);
    EXPECT_EQ(gather->query_code[4] - gather->key_code[j] + gather->origin, kMiddle[j]);
  }
}

// A joint table that is the sum of a row and a column table is the decomposed encoding, values and gradients.
TEST(Joint2d, SumOfTwoTablesIsTheDecomposedForm) {
  constexpr std::int64_t kH = 2, kD = 4, kRows = 3, kColumns = 4;
  const Grid grid{1, kRows, kColumns};
  const Var rows(random_tensor({2 * kRows - 1, kD}, 1), true);
  const Var columns(random_tensor({2 * kColumns - 1, kD}, 2), true);
  Tensor table({2 * kRows - 1, 2 * kColumns - 1, kD});
  for (std::int64_t y = 0; y < table.dim(0); ++y)
    for (std::int64_t x = 0; x < table.dim(1); ++x)
      for (std::int64_t d = 0; d < kD; ++d)
        table[(y * table.dim(1) + x) * kD + d] = rows.value()[y * kD + d] + columns.value()[x * kD + d];
  const Var joint(table, true);
  const Tensor dout = random_tensor({1, 12, kH * kD}, 6);
  std::vector<Tensor> outs, dqs;
  for (const bool decomposed : {false, true}) {
    const Var q(random_tensor({1, 12, kH * kD}, 3), true), k(random_tensor({1, 12, kH * kD}, 4)),
        v(random_tensor({1, 12, kH * kD}, 5));
    Tape tape;
    const Context ctx{.tape = &tape};
    AttentionOptions options;
    options.heads = kH;
    options.terms = {decomposed
                         ? decomposed_term(ctx, {{}, rows, columns}, q, kH, decomposed_indices(grid, grid))
                         : joint_2d_term(ctx, {joint}, grid, 0.5f, joint_2d_gather(grid))};
    const Var out = attention_composed(ctx, q, k, v, options);
    tape.backward({{out, dout}});
    outs.push_back(out.value());
    dqs.push_back(q.grad());
  }
  testing::expect_close(outs[0], testing::to_double(outs[1]), 2e-6, "result");
  testing::expect_close(dqs[0], testing::to_double(dqs[1]), 5e-6, "dq");
  std::vector<double> sums(static_cast<std::size_t>(rows.value().numel()));
  for (std::int64_t i = 0; i < joint.grad().numel(); ++i)
    sums[static_cast<std::size_t>(i / (table.dim(1) * kD) * kD + i % kD)] += joint.grad()[i];
  testing::expect_close(rows.grad(), sums, 5e-6, "gradient of the rows");
}

TEST(Joint2d, RefusesWhatDoesNotFit) {
  const Grid grid{1, 2, 3};
  const auto term = [&](const Tensor& table) {
    return joint_2d_term({}, {Var(table)}, grid, 0.5f, joint_2d_gather(grid));
  };
  EXPECT_NO_THROW(term(Tensor::zeros({3, 5, 4})));
  EXPECT_THROW(term(Tensor::zeros({5, 3, 4})), Error);
  EXPECT_THROW(term(Tensor::zeros({15, 4})), Error);
  EXPECT_THROW(joint_2d_gather({1, 0, 3}), Error);
  EXPECT_THROW(joint_2d_gather({2, 2, 3}), Error);
  EXPECT_THROW(joint_2d_gather(grid, -1), Error);
  EXPECT_THROW(joint_2d_term({}, {Var(Tensor::zeros({3, 5, 4}))}, grid, 0.0f, joint_2d_gather(grid)), Error);
}

}  // namespace joint_2d_test
}  // namespace locant
