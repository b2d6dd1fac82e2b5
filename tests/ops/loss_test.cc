#include "ops/loss.h"

#include <cmath>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace loss_test {

using testing::random_tensor;

TEST(CrossEntropy, ResultAndGradients) {
  const std::vector<std::int64_t> labels = {2, 0, 4};
  for (const float smoothing : {0.0f, 0.1f, 1.0f})
    testing::expect_op(
        "cross_entropy", {random_tensor({3, 5}, 1, 4.0f)},
        [&](const Context& ctx, const auto& v) { return cross_entropy(ctx, v[0], labels, smoothing); },
        [&](const auto& in) {
          using T = typename std::decay_t<decltype(in[0])>::value_type;
          T loss = 0;
          for (std::size_t b = 0; b < 3; ++b) {
            T sum = 0;
            for (std::size_t c = 0; c < 5; ++c) sum += std::exp(in[0][5 * b + c]);
            for (std::size_t c = 0; c < 5; ++c) {
              const double s = smoothing, hit = static_cast<std::size_t>(labels[b]) == c ? 1 - s : 0.0;
              loss += (hit + s / 5) * (std::log(sum) - in[0][5 * b + c]) / 3.0;
            }
          }
          return std::vector<T>{loss};
        });
}

TEST(CrossEntropy, LargeLogitsStayFinite) {
  const Var logits(Tensor::from({1, 3}, std::vector<float>{1000.0f, -1000.0f, 0.0f}));
  EXPECT_FLOAT_EQ(cross_entropy({}, logits, {1}, 0.0f).value()[0], 2000.0f);
  EXPECT_FLOAT_EQ(cross_entropy({}, logits, {0}, 0.0f).value()[0], 0.0f);
}

TEST(CrossEntropy, BadInputsAreErrors) {
  const Var logits(Tensor::zeros({2, 3}));
  EXPECT_THROW(cross_entropy({}, logits, {0}, 0.0f), Error);
  EXPECT_THROW(cross_entropy({}, logits, {0, 3}, 0.0f), Error);
  EXPECT_THROW(cross_entropy({}, logits, {-1, 0}, 0.0f), Error);
  EXPECT_THROW(cross_entropy({}, logits, {0, 0}, 1.5f), Error);
  EXPECT_THROW(cross_entropy({}, Var(Tensor::zeros({3})), {0}, 0.0f), Error);
}

}  // namespace loss_test
}  // namespace locant
