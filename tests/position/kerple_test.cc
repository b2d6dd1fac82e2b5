#include "position/kerple.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace kerple_test {

Var scalars(std::initializer_list<float> values) {
  const std::vector<float> all(values);
  return Var(Tensor::from({static_cast<std::int64_t>(all.size()), 1, 1}, all), true);
}

TEST(Kerple, TablesOfFourDistancesByHand) {
  const Kerple log{KerpleForm::logarithmic, scalars({1.5f, 0.5f}), scalars({1.0f, 2.0f}), true};
  const Tensor l = kerple_table({}, log, 2, 4).value();
  for (int n = 0; n < 4; ++n) {
    EXPECT_NEAR(l[2 * n], -1.5 * std::log(1.0 + n), 1e-6);
    EXPECT_NEAR(l[2 * n + 1], -0.5 * std::log(1.0 + 2 * n), 1e-6);
  }
  const Kerple power{KerpleForm::power, scalars({2.0f, 0.5f}), scalars({0.25f, 1.0f}), true};
  const Tensor p = kerple_table({}, power, 2, 4).value();
  constexpr double kSquares[4] = {0, -0.25, -1, -2.25};
  for (int n = 0; n < 4; ++n) {
    EXPECT_NEAR(p[2 * n], kSquares[n], 1e-6);
    EXPECT_NEAR(p[2 * n + 1], -std::sqrt(static_cast<double>(n)), 1e-6);
  }
}

// The official code clamps the stored numbers before it uses them: the value is that of the bound, the
// gradient goes on.
TEST(Kerple, BoundsHoldAndLetGradientsPass) {
  for (const KerpleForm form : {KerpleForm::logarithmic, KerpleForm::power}) {
    const bool power = form == KerpleForm::power;
    const Kerple out{form, scalars({-1.0f, 3.0f}), scalars({0.001f, -2.0f}), true};
    const Kerple bound{form, scalars({0.01f, power ? 2.0f : 3.0f}), scalars({0.01f, 0.01f}), true};
    const auto run = [](const Kerple& k) {
      Tape tape;
      const Var table = kerple_table({.tape = &tape}, k, 2, 5);
      tape.backward({{table, testing::sine({5, 2}, 7).value()}});
      return table.value();
    };
    const Tensor a = run(out), b = run(bound);
    for (std::int64_t n = 0; n < 10; ++n) EXPECT_EQ(a[n], b[n]) << n;
    for (std::int64_t h = 0; h < 2; ++h) {
      EXPECT_EQ(out.p.grad()[h], bound.p.grad()[h]);
      EXPECT_EQ(out.a.grad()[h], bound.a.grad()[h]);
      EXPECT_NE(out.p.grad()[h], 0.0f);
      EXPECT_NE(out.a.grad()[h], 0.0f);
    }
  }
}

TEST(Kerple, CausalMaskAndCache) {
  AttentionOptions options;
  options.heads = 1;
  add_kerple({}, {KerpleForm::power, scalars({1.0f}), scalars({1.0f}), true}, 2, 6, 4, options);
  EXPECT_TRUE(options.visibility.causal);
  EXPECT_EQ(options.visibility.causal_offset, 4);
  const auto rows = testing::rows_by_map(*testing::gather_of(options.terms.at(0)).map);
  EXPECT_EQ(rows, (std::vector<std::int64_t>{4, 3, 2, 1, 0, 1, 5, 4, 3, 2, 1, 0}));
}

TEST(Kerple, RefusesWhatDoesNotFit) {
  AttentionOptions options;
  options.heads = 2;
  const auto add = [&](const Var& p, const Var& a, std::int64_t Nq = 4) {
    add_kerple({}, {KerpleForm::logarithmic, p, a, true}, Nq, 4, 0, options);
  };
  const Var good = scalars({1.0f, 1.0f});
  EXPECT_NO_THROW(add(good, good));
  EXPECT_THROW(add(scalars({1.0f}), good), Error);
  EXPECT_THROW(add(good, Var(Tensor::full({2}, 1.0f))), Error);
  EXPECT_THROW(add(Var(), good), Error);
  EXPECT_THROW(add(good, good, -1), Error);
  EXPECT_THROW(add(good, scalars({1.0f, NAN})), Error);
  EXPECT_THROW(kerple_table({}, {KerpleForm::power, good, good, true}, 2, 0), Error);
}

}  // namespace kerple_test
}  // namespace locant
