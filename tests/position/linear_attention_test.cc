#include "position/linear_attention.h"

#include "core/error.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace linear_attention_test {

using testing::random_tensor;

std::vector<float> mapped(const FeatureMap& map, std::vector<float> x, std::int64_t N = 1) {
  const std::int64_t D = static_cast<std::int64_t>(x.size()) / N;
  const Tensor out = map.query({}, Var(Tensor::from({1, N, 1, D}, x))).value();
  return {out.values().begin(), out.values().end()};
}

void expect_near(const std::vector<float>& got, const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t n = 0; n < want.size(); ++n) EXPECT_NEAR(got[n], want[n], 1e-6) << n;
}

// Spec, table of feature maps.
TEST(FeatureMaps, ByHand) {
  expect_near(mapped(elu_feature_map(), {2.0f, 0.0f, -1.0f}), {3.0, 1.0, std::exp(-1.0)});
  expect_near(mapped(relu_feature_map(), {2.0f, -1.0f}), {2.001, 0.001});
  expect_near(mapped(taylor_feature_map(), {3.0f, -4.0f}), {0.6, -0.8, 1.0});
  // Tokens 0 and 1 of 3: an angle of nothing and of pi / 6.
  const double c = std::cos(3.141592653589793 / 6);
  expect_near(mapped(cosine_feature_map(3), {2.0f, -1.0f, 2.0f, -1.0f}, 2), {2, 0, 0, 0, 2 * c, 0, 1, 0});
}

// relu(q).relu(k) cos(pi (i - j) / 2L): the cosine map's products know the distance alone.
TEST(FeatureMaps, CosineKnowsDistance) {
  constexpr std::int64_t kN = 5, kD = 3;
  Tensor x({1, kN, 1, kD});
  for (std::int64_t n = 0; n < x.numel(); ++n) x[n] = static_cast<float>(n % kD + 1);
  const Tensor f = cosine_feature_map(kN).query({}, Var(x)).value();
  for (std::int64_t i = 0; i < kN; ++i)
    for (std::int64_t j = 0; j < kN; ++j) {
      double sum = 0;
      for (std::int64_t m = 0; m < 2 * kD; ++m)
        sum += static_cast<double>(f[i * 2 * kD + m]) * static_cast<double>(f[j * 2 * kD + m]);
      EXPECT_NEAR(sum, 14 * std::cos(1.5707963267948966 * static_cast<double>(i - j) / kN), 1e-5);
    }
}

// Linear attention by Taylor features is the mean of v plus a first-order correction (spec 13.2), whatever
// the length of q and k.
TEST(LinearAttentionEncoding, TaylorExpanded) {
  constexpr std::int64_t kN = 4, kD = 2;
  const Tensor q = random_tensor({1, kN, kD}, 1), k = random_tensor({1, kN, kD}, 2, 3.0f),
               v = random_tensor({1, kN, 1}, 3);
  const Tensor out =
      mapped_linear_attention({}, taylor_feature_map(), false, Var(q), Var(k), Var(v), {}).value();
  for (std::int64_t i = 0; i < kN; ++i) {
    double above = 0, below = 0;
    for (std::int64_t j = 0; j < kN; ++j) {
      const float *a = q.data() + i * kD, *b = k.data() + j * kD;
      const double weight =
          1 + (a[0] * b[0] + a[1] * b[1]) / (std::hypot(a[0], a[1]) * std::hypot(b[0], b[1]));
      EXPECT_GE(weight, 0.0);
      above += weight * static_cast<double>(v[j]), below += weight;
    }
    EXPECT_NEAR(out[i], above / below, 1e-5);
  }
}

TEST(LinearAttentionEncoding, RotationsKeepNormsAndWhatStays) {
  const Tensor x = random_tensor({1, 6, 2 * 5}, 1);
  const Tensor y = rotate_features({}, Var(x), 2, 1).value();
  for (std::int64_t at = 0; at < x.numel(); at += 5) {
    EXPECT_EQ(x[at + 4], y[at + 4]);
    double before = 0, after = 0;
    for (std::int64_t m = 0; m < 4; ++m) {
      before += static_cast<double>(x[at + m]) * static_cast<double>(x[at + m]);
      after += static_cast<double>(y[at + m]) * static_cast<double>(y[at + m]);
    }
    EXPECT_NEAR(before, after, 1e-5);
    if (at >= 10) {
      EXPECT_NE(x[at], y[at]);
    }
  }
  EXPECT_THROW(rotate_features({}, Var(x), 2, 0), Error);
  EXPECT_THROW(rotate_features({}, Var(x), 2, 6), Error);
  EXPECT_THROW(rotate_features({}, Var(x), 3, 1), Error);
}

TEST(LinearAttentionEncoding, PictureOfCausalSums) {
  const Tensor picture =
      kLinearAttention.picture({.query = {1, 1, 3}, .key = {1, 1, 3}, .variant = "elu causal"});
  for (std::int64_t i = 0; i < 3; ++i)
    for (std::int64_t j = 0; j < 3; ++j)
      EXPECT_NEAR(picture[i * 3 + j], j > i ? 0.0 : 1.0 / static_cast<double>(i + 1), 1e-6);
}

TEST(LinearAttentionEncoding, RefusesWhatDoesNotFit) {
  EXPECT_THROW(feature_map("sigmoid", 4), Error);
  EXPECT_THROW(cosine_feature_map(0), Error);
  const Var q(Tensor::zeros({1, 5, 4}));
  EXPECT_THROW(mapped_linear_attention({}, cosine_feature_map(4), false, q, q, q, {}), Error);
  EXPECT_THROW(mapped_linear_attention({}, elu_feature_map(), false, q, q, q, {.heads = 3}), Error);
  EXPECT_THROW(kLinearAttention.make({.variant = "elu backwards"}), Error);
}

}  // namespace linear_attention_test
}  // namespace locant
