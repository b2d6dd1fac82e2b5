#include "position/learned_absolute.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace learned_absolute_test {

using testing::random_tensor;

LearnedAbsolute position(const Var& table, std::int64_t rows, std::int64_t columns, std::int64_t prefix,
                         const char* rule) {
  return {table, {rows, columns, prefix, parse_position_resize(rule)}};
}

TEST(LearnedAbsolute, OwnGridGivesTheParameterItself) {
  const Var table(random_tensor({1, 7, 4}, 1));
  EXPECT_EQ(position(table, 2, 3, 1, "none").table({}, 2, 3).value().data(), table.value().data());
}

TEST(LearnedAbsolute, RuleNoneRefusesAnotherGrid) {
  const LearnedAbsolute p = position(Var(random_tensor({1, 7, 4}, 1)), 2, 3, 1, "none");
  EXPECT_THROW(p.table({}, 3, 2), Error);
}

// One column of the table is t_k = cos(0.37 k), k = 0 .. 4, resampled to 7 (spec of DINOv2's three rules).
TEST(LearnedAbsolute, EachRuleGivesItsOwnNumbers) {
  const std::pair<const char*, std::vector<double>> cases[] = {
      {"bicubic_offset", {1.005450, 0.981846, 0.890118, 0.750926, 0.565084, 0.285479, 0.073168}},
      {"bicubic", {1.005327, 0.981085, 0.886628, 0.738469, 0.552406, 0.265211, 0.062807}},
      {"bicubic_antialias", {1.003942, 0.975021, 0.889050, 0.738469, 0.535907, 0.269216, 0.070051}},
  };
  Tensor values({1, 6, 1});
  values[0] = 42.0f;  // the prefix row
  for (int k = 0; k < 5; ++k) values[1 + k] = std::cos(0.37f * static_cast<float>(k));
  for (const auto& [rule, want] : cases) {
    const Var got = position(Var(values), 5, 1, 1, rule).table({}, 7, 1);
    ASSERT_EQ(got.shape(), (Shape{1, 8, 1})) << rule;
    EXPECT_EQ(got.value()[0], 42.0f) << rule;
    for (int i = 0; i < 7; ++i)
      EXPECT_NEAR(got.value()[1 + i], want[static_cast<std::size_t>(i)], 2e-6) << rule;
  }
}

TEST(LearnedAbsolute, CornersOfTheGridStayWhereCornersAreAligned) {
  const Tensor values = random_tensor({1, 9, 2}, 3);
  const Tensor got = position(Var(values), 3, 3, 0, "bicubic_corners").table({}, 5, 4).value();
  for (int c = 0; c < 2; ++c) {
    EXPECT_NEAR(got[c], values[c], 1e-6);
    EXPECT_NEAR(got[2 * 19 + c], values[2 * 8 + c], 1e-6);
  }
}

TEST(LearnedAbsolute, ConstantTablesStayConstantUnderEveryRule) {
  for (const char* rule : {"bicubic", "bicubic_offset", "bicubic_antialias", "bicubic_corners", "bilinear",
                           "bilinear_antialias"}) {
    const Var got = position(Var(Tensor::full({1, 12, 3}, 0.75f)), 3, 4, 0, rule).table({}, 5, 2);
    for (const float x : got.value().values()) EXPECT_NEAR(x, 0.75f, 1e-6) << rule;
  }
}

TEST(LearnedAbsolute, GradientReachesThePrefixAndTheGrid) {
  const Var table(random_tensor({1, 5, 2}, 5), true);
  Tape tape;
  const Context ctx{&tape};
  const Var got = position(table, 2, 2, 1, "bilinear").table(ctx, 3, 3);
  tape.backward({{got, Tensor::full(got.shape(), 1.0f)}});
  // Every output row is an average of grid rows: the nine of them share nine units of gradient per channel.
  const Tensor& gradient = table.grad();
  for (int c = 0; c < 2; ++c) {
    EXPECT_NEAR(gradient[c], 1.0f, 1e-6);
    EXPECT_NEAR(gradient[2 + c] + gradient[4 + c] + gradient[6 + c] + gradient[8 + c], 9.0f, 1e-5);
  }
}

TEST(LearnedAbsolute, ResampledTableIsKeptUntilGridOrParameterChange) {
  Var table(random_tensor({1, 4, 2}, 7));
  const LearnedAbsolute p = position(table, 2, 2, 0, "bicubic");
  const Tensor first = p.table({}, 3, 3).value();
  EXPECT_EQ(p.table({}, 3, 3).value().data(), first.data());
  EXPECT_EQ(p.table({}, 4, 3).shape(), (Shape{1, 12, 2}));
  table.assign(Tensor::full({1, 4, 2}, 2.0f));
  EXPECT_NEAR(p.table({}, 4, 3).value()[0], 2.0f, 1e-6);
}

TEST(LearnedAbsolute, TrainedTableIsNeverKept) {
  Var table(Tensor::full({1, 4, 2}, 1.0f), true);
  const LearnedAbsolute p = position(table, 2, 2, 0, "bicubic");
  EXPECT_NEAR(p.table({}, 3, 3).value()[0], 1.0f, 1e-6);
  Tensor numbers = table.value();  // shares storage, as an optimiser's step does
  numbers.fill(3.0f);
  EXPECT_NEAR(p.table({}, 3, 3).value()[0], 3.0f, 1e-6);
}

TEST(LearnedAbsolute, WrongTablesAndRulesAreErrors) {
  EXPECT_THROW(position(Var(random_tensor({1, 6, 4}, 1)), 2, 3, 1, "bicubic"), Error);
  EXPECT_THROW(parse_position_resize("nearest"), Error);
}

}  // namespace learned_absolute_test
}  // namespace locant
