#include "position/dynamic_bias.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "ops/layout.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace dynamic_bias_test {

using testing::sine;

DynamicBias crossformer(std::int64_t width, std::int64_t heads) {
  DynamicBias out{sine({width, 2}, 0), sine({width}, 1), {}, false};
  for (int n = 0; n < 3; ++n) {
    const std::int64_t rows = n < 2 ? width : heads;
    out.steps[static_cast<std::size_t>(n)] = {sine({width}, 4 * n + 2), sine({width}, 4 * n + 3),
                                              sine({rows, width}, 4 * n + 4), sine({rows}, 4 * n + 5)};
  }
  return out;
}

RelPosMlp relpos(std::int64_t hidden, std::int64_t heads) {
  return {sine({hidden, 2}, 0), sine({hidden}, 1), sine({heads, hidden}, 2), sine({heads}, 3), 0.0f};
}

TEST(DynamicBias, RelposCoordinates) {
  for (int d = 0; d < 6; ++d) {
    EXPECT_DOUBLE_EQ(relpos_coordinate(d), std::log(1.0 + d));
    EXPECT_DOUBLE_EQ(relpos_coordinate(-d), -std::log(1.0 + d));
  }
}

// Rows in the order of Swin's index: displacement (-1, -2) first on 2 x 3, row before column.
TEST(DynamicBias, TableRowsAreDisplacements) {
  const RelPosMlp mlp = relpos(4, 2);
  const Tensor table = relpos_mlp_table({}, mlp, {2, 3}, 2).value();
  ASSERT_EQ(table.shape(), (Shape{15, 2}));
  const auto at = [](const Var& x) { return x.value().data(); };
  for (std::int64_t i = 0; i < 6; ++i)
    for (std::int64_t j = 0; j < 6; ++j)
      for (std::int64_t h = 0; h < 2; ++h)
        EXPECT_NEAR(table[swin_index({2, 3}, i, j) * 2 + h],
                    relpos_mlp<float>(i / 3 - j / 3, i % 3 - j % 3, at(mlp.first_weight), at(mlp.first_bias),
                                      at(mlp.second_weight) + 4 * h, mlp.second_bias.value()[h], 4),
                    1e-6);
}

TEST(DynamicBias, SpecialTokensGetNothing) {
  const AttentionTerm term = displacement_term(relpos_mlp_table({}, relpos(4, 1), {3, 3}, 1), {3, 3}, 1, 2);
  const auto rows = testing::rows_by_map(*testing::gather_of(term).map);
  ASSERT_EQ(rows.size(), 121u);
  for (std::int64_t i = 0; i < 11; ++i)
    for (std::int64_t j = 0; j < 11; ++j)
      EXPECT_EQ(rows[static_cast<std::size_t>(i * 11 + j)],
                i < 2 || j < 2 ? -1 : swin_index({3, 3}, i - 2, j - 2));
}

// The last bias is a constant under the softmax, as long as every pair gets it.
TEST(DynamicBias, TheLastBiasHasNoGradientWithoutSpecialTokens) {
  for (const std::int64_t prefix : {0, 1}) {
    const RelPosMlp mlp = relpos(4, 2);
    Tape tape;
    const Context ctx{.tape = &tape};
    AttentionOptions options;
    options.heads = 2;
    options.terms = {displacement_term(relpos_mlp_table(ctx, mlp, {2, 2}, 2), {2, 2}, 2, prefix)};
    const Shape shape{1, 4 + prefix, 6};
    const Var out = attention(ctx, sine(shape, 4), sine(shape, 5), sine(shape, 6), options);
    tape.backward({{out, testing::cosine(shape).value()}});
    for (std::int64_t h = 0; h < 2; ++h) {
      if (prefix == 0)
        EXPECT_NEAR(mlp.second_bias.grad()[h], 0.0f, 1e-6f);
      else
        EXPECT_GT(std::abs(mlp.second_bias.grad()[h]), 1e-3f);
    }
  }
}

TEST(DynamicBias, SkipsChangeTheTable) {
  DynamicBias bias = crossformer(4, 2);
  const Tensor plain = dynamic_bias_table({}, bias, {2, 3}, 2).value();
  bias.residual = true;
  const Tensor skipped = dynamic_bias_table({}, bias, {2, 3}, 2).value();
  ASSERT_EQ(plain.shape(), (Shape{15, 2}));
  double most = 0;
  for (std::int64_t n = 0; n < 30; ++n)
    most = std::max(most, std::abs(double(plain[n]) - double(skipped[n])));
  EXPECT_GT(most, 1e-2);
}

TEST(DynamicBias, RefusesWhatDoesNotFit) {
  DynamicBias bias = crossformer(4, 2);
  EXPECT_THROW(dynamic_bias_table({}, bias, {2, 3}, 3), Error);
  EXPECT_THROW(dynamic_bias_table({}, bias, {2, -3}, 2), Error);
  bias.steps[1].weight = sine({4, 5}, 0);
  try {
    dynamic_bias_table({}, bias, {2, 3}, 2);
    FAIL() << "a weight of another width was taken";
  } catch (const Error& e) {
    const std::string what = e.what();
    for (const char* part : {"dynamic_bias", "pos.pos2.2.weight", "(4, 5)", "(4, 4)"})
      EXPECT_NE(what.find(part), std::string::npos) << what;
  }
  RelPosMlp mlp = relpos(4, 2);
  EXPECT_THROW(relpos_mlp_table({}, mlp, {2, 3}, 3), Error);
  mlp.first_weight = sine({2, 4}, 0);
  EXPECT_THROW(relpos_mlp_table({}, mlp, {2, 3}, 2), Error);
  EXPECT_THROW(displacement_term(sine({14, 2}, 0), {2, 3}, 2), Error);
  EXPECT_THROW(displacement_term(sine({15, 2}, 0), {2, 3}, 2, -1), Error);
}

}  // namespace dynamic_bias_test
}  // namespace locant
