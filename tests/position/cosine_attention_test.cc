#include "position/cosine_attention.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace cosine_attention_test {

using testing::random_tensor;

TEST(CosineAttention, UnitVectorsAndTheTemperatureByHand) {
  // Two heads of width 2: (3, 4) and (0, -5); the second's temperature is beyond its bound.
  const Var q(Tensor::from({1, 1, 4}, std::vector<float>{3, 4, 0, -5}));
  const CosineQueryKey unit =
      cosine_query_key({}, q, q, Var(Tensor::from({2}, std::vector<float>{0.0f, 6.0f})), 2);
  constexpr double kQuery[4] = {0.6, 0.8, 0, -100}, kKey[4] = {0.6, 0.8, 0, -1};
  for (int c = 0; c < 4; ++c) {
    EXPECT_NEAR(unit.q.value()[c], kQuery[c], 1e-5);
    EXPECT_NEAR(unit.k.value()[c], kKey[c], 1e-6);
  }
}

TEST(CosineAttention, StartsAtTenAndEndsAtAHundred) {
  EXPECT_FLOAT_EQ(std::exp(kLogitScaleStart), 10.0f);
  EXPECT_FLOAT_EQ(std::exp(kLogitScaleMax), 100.0f);
  EXPECT_EQ(kLogitScaleMax, static_cast<float>(std::log(100.0)));
  EXPECT_NEAR(cosine_score(6.0, 2.0, 4.0, std::log(8.0)), 6.0, 1e-12);
  EXPECT_NEAR(cosine_score(6.0, 2.0, 4.0, 50.0), 75.0, 1e-4);
}

TEST(CosineAttention, LengthsDoNotMatterAndZerosStayZero) {
  const Tensor q = random_tensor({1, 3, 4}, 1);
  Tensor longer = q.clone();
  for (float& x : longer.values()) x *= 64.0f;
  const Var scale(Tensor::zeros({2, 1, 1}));
  const Tensor a = cosine_query_key({}, Var(q), Var(q), scale, 2).q.value(),
               b = cosine_query_key({}, Var(longer), Var(q), scale, 2).q.value();
  testing::expect_close(b, testing::to_double(a), 1e-6, "64 times as long");
  const Var zero(Tensor::zeros({1, 3, 4}));
  for (const float x : cosine_query_key({}, zero, zero, scale, 2).k.value().values()) EXPECT_EQ(x, 0.0f);
}

TEST(CosineAttention, AClampedTemperatureGetsNoGradient) {
  const Var q(random_tensor({1, 3, 4}, 1)),
      scale(Tensor::from({2, 1, 1}, std::vector<float>{1.0f, 5.0f}), true);
  Tape tape;
  tape.backward({{cosine_query_key({.tape = &tape}, q, q, scale, 2).q, random_tensor({1, 3, 4}, 2)}});
  EXPECT_NE(scale.grad()[0], 0.0f);
  EXPECT_EQ(scale.grad()[1], 0.0f);
}

TEST(CosineAttention, RefusesWhatDoesNotFit) {
  const Var q(Tensor::zeros({1, 3, 4})), scale(Tensor::zeros({2, 1, 1}));
  EXPECT_THROW(cosine_query_key({}, q, q, scale, 3), Error);
  EXPECT_THROW(cosine_query_key({}, q, q, scale, 0), Error);
  EXPECT_THROW(cosine_query_key({}, q, q, Var(Tensor::zeros({4})), 2), Error);
  EXPECT_THROW(cosine_query_key({}, q, q, {}, 2), Error);
  EXPECT_THROW(cosine_query_key({}, q, Var(Tensor::zeros({3, 4})), scale, 2), Error);
  EXPECT_THROW(kCosineAttention.make({.query = {1, 1, 4}, .key = {1, 1, 4}, .variant = "other"}), Error);
}

}  // namespace cosine_attention_test
}  // namespace locant
