#include "ops/mask_loss.h"

#include <cmath>

#include "core/error.h"
#include "tests/ops/op_check.h"

namespace locant {
namespace mask_loss_test {

using testing::random_tensor;

/// 0 or 1.
Tensor random_mask(const Shape& shape, std::uint64_t seed) {
  Tensor out = random_tensor(shape, seed);
  for (float& x : out.values()) x = x > 0.2f ? 1.0f : 0.0f;
  return out;
}

TEST(MaskLoss, FocalResultAndGradient) {
  const Tensor target = random_mask({2, 3, 7}, 2);
  for (const auto& [alpha, gamma] : {std::pair{0.25f, 2.0f}, {0.7f, 0.0f}, {1.0f, 1.5f}})
    testing::expect_op(
        "focal_loss", {random_tensor({2, 3, 7}, 1, 3.0f)},
        [&, a = alpha, g = gamma](const Context& ctx, const auto& v) {
          return focal_loss(ctx, v[0], target, a, g);
        },
        [&, a = static_cast<double>(alpha), g = static_cast<double>(gamma)](const auto& in) {
          using T = typename std::decay_t<decltype(in[0])>::value_type;
          std::vector<T> out(6);
          for (std::size_t i = 0; i < 42; ++i) {
            const T p = 1.0 / (1.0 + std::exp(-in[0][i]));
            const bool one = target[static_cast<std::int64_t>(i)] == 1.0f;
            const T right = one ? p : 1.0 - p;
            out[i / 7] -= (one ? a : 1 - a) * std::pow(1.0 - right, g) * std::log(right) / 7.0;
          }
          return out;
        });
}

TEST(MaskLoss, DiceResultAndGradient) {
  const Tensor target = random_mask({4, 9}, 2);
  testing::expect_op(
      "dice_loss", {random_tensor({4, 9}, 1, 3.0f)},
      [&](const Context& ctx, const auto& v) { return dice_loss(ctx, v[0], target); },
      [&](const auto& in) {
        using T = typename std::decay_t<decltype(in[0])>::value_type;
        std::vector<T> out;
        for (std::size_t m = 0; m < 4; ++m) {
          T both = 0, sum = 0;
          for (std::size_t i = 9 * m; i < 9 * m + 9; ++i) {
            const T p = 1.0 / (1.0 + std::exp(-in[0][i]));
            const double t = target[static_cast<std::int64_t>(i)];
            both += p * t;
            sum += p + t;
          }
          out.push_back(1.0 - (2.0 * both + 1.0) / (sum + 1.0));
        }
        return out;
      });
}

TEST(MaskLoss, LargeLogitsStayFinite) {
  const Var logits(Tensor::from({1, 4}, std::vector<float>{1000.0f, -1000.0f, 1000.0f, -1000.0f}));
  const Tensor target = Tensor::from({1, 4}, std::vector<float>{1, 0, 0, 1});
  EXPECT_FLOAT_EQ(focal_loss({}, logits, target).value()[0], (750.0f + 250.0f) / 4);
  EXPECT_FLOAT_EQ(dice_loss({}, logits, target).value()[0], 1.0f - 3.0f / 5.0f);
}

TEST(MaskLoss, BadInputsAreErrors) {
  const Var logits(Tensor::zeros({2, 3}));
  EXPECT_THROW(focal_loss({}, logits, Tensor::zeros({3, 2})), Error);
  EXPECT_THROW(focal_loss({}, logits, Tensor::zeros({2, 3}), 1.5f), Error);
  EXPECT_THROW(focal_loss({}, logits, Tensor::zeros({2, 3}), 0.25f, -1.0f), Error);
  EXPECT_THROW(dice_loss({}, Var(Tensor::zeros({3})), Tensor::zeros({3})), Error);
  EXPECT_THROW(dice_loss({}, Var(Tensor::zeros({3, 0})), Tensor::zeros({3, 0})), Error);
}

}  // namespace mask_loss_test
}  // namespace locant
