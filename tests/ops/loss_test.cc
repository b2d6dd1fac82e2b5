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

TEST(CrossEntropy, WeightsAndMixedPictures) {
  const ClassTargets targets{.labels = {2, 0, 4},
                             .others = {1, 0, 2},
                             .shares = {0.75f, 0.5f, 0.0f},
                             .smoothing = 0.2f,
                             .class_weights = {1.0f, 0.5f, 2.0f, 4.0f, 0.25f}};
  testing::expect_op(
      "cross_entropy", {random_tensor({3, 5}, 1, 4.0f)},
      [&](const Context& ctx, const auto& v) { return cross_entropy(ctx, v[0], targets); },
      [&](const auto& in) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        T loss = 0;
        double divisor = 0;
        for (std::size_t b = 0; b < 3; ++b) {
          T sum = 0;
          for (std::size_t c = 0; c < 5; ++c) sum += std::exp(in[0][5 * b + c]);
          std::vector<double> t(5, 0.2f / 5.0);
          t[static_cast<std::size_t>(targets.labels[b])] += (1 - 0.2f) * targets.shares[b];
          t[static_cast<std::size_t>(targets.others[b])] += (1 - 0.2f) * (1 - targets.shares[b]);
          for (std::size_t c = 0; c < 5; ++c)
            loss += targets.class_weights[c] * t[c] * (std::log(sum) - in[0][5 * b + c]);
          divisor += targets.shares[b] * targets.class_weights[static_cast<std::size_t>(targets.labels[b])];
          divisor +=
              (1 - targets.shares[b]) * targets.class_weights[static_cast<std::size_t>(targets.others[b])];
        }
        return std::vector<T>{loss / divisor};
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
  EXPECT_THROW(cross_entropy({}, logits, {.labels = {0, 1}, .others = {1, 3}, .shares = {0.5f, 0.5f}}),
               Error);
  EXPECT_THROW(cross_entropy({}, logits, {.labels = {0, 1}, .others = {1, 0}, .shares = {0.5f}}), Error);
  EXPECT_THROW(cross_entropy({}, logits, {.labels = {0, 1}, .others = {1, 0}, .shares = {0.5f, 1.5f}}),
               Error);
  EXPECT_THROW(cross_entropy({}, logits, {.labels = {0, 1}, .class_weights = {1.0f, 2.0f}}), Error);
  EXPECT_THROW(cross_entropy({}, logits, {.labels = {0, 1}, .class_weights = {1.0f, 2.0f, 0.0f}}), Error);
}

}  // namespace loss_test
}  // namespace locant
