#include "position/dense_bias.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace dense_bias_test {

using testing::sine;

TEST(DenseBias, ShapesThatSpread) {
  for (const Shape& shape : {Shape{4, 5}, Shape{1, 5}, Shape{3, 4, 5}, Shape{1, 4, 5}, Shape{3, 1, 5},
                             Shape{2, 1, 3, 4, 5}, Shape{2, 1, 1, 1, 5}, Shape{1, 1, 3, 1, 5}})
    EXPECT_NO_THROW(dense_bias_term({sine(shape, 0)}, 2, 3, 4, 5)) << shape.str();
}

TEST(DenseBias, RefusesWhatDoesNotFit) {
  for (const Shape& shape : {Shape{5}, Shape{5, 4}, Shape{4, 1}, Shape{2, 4, 5}, Shape{3, 4, 6},
                             Shape{3, 3, 4, 5}, Shape{3, 1, 3, 4, 5}, Shape{2, 2, 3, 4, 5}})
    EXPECT_THROW(dense_bias_term({sine(shape, 0)}, 2, 3, 4, 5), Error) << shape.str();
  EXPECT_THROW(dense_bias_term({Var()}, 2, 3, 4, 5), Error);
  Tensor poisoned = Tensor::zeros({4, 5});
  poisoned[7] = NAN;
  EXPECT_THROW(dense_bias_term({Var(poisoned)}, 2, 3, 4, 5), Error);
  for (const std::int64_t at : {0, 65535, 65536, 89999})  // parts are looked through by themselves
    for (const float x : {NAN, INFINITY}) {
      Tensor large = Tensor::zeros({300, 300});
      large[at] = x;
      EXPECT_THROW(dense_bias_term({Var(large)}, 1, 1, 300, 300), Error) << at;
    }
}

// -inf hides a key: the others share its weight, and a row of it alone gives zeros.
TEST(DenseBias, MinusInfinityHides) {
  Tensor bias = Tensor::zeros({2, 3});
  bias[1] = -INFINITY;
  for (int j = 0; j < 3; ++j) bias[3 + j] = -INFINITY;
  AttentionOptions options;
  options.terms = {dense_bias_term({Var(bias)}, 1, 1, 2, 3)};
  const Var q(Tensor::zeros({1, 2, 4})), k = sine({1, 3, 4}, 0), v = sine({1, 3, 4}, 1);
  const Tensor out = attention({}, q, k, v, options).value();
  for (int d = 0; d < 4; ++d) {
    EXPECT_NEAR(out[d], 0.5f * (v.value()[d] + v.value()[8 + d]), 1e-6f);
    EXPECT_EQ(out[4 + d], 0.0f);
  }
}

}  // namespace dense_bias_test
}  // namespace locant
