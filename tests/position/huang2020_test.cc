#include "position/huang2020.h"

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace huang2020_test {

using Method = Huang2020Method;
using testing::random_tensor;

TEST(Huang2020, IndexOfThreeTokensByHand) {
  constexpr int kBlind[3][3] = {{0, 1, 2}, {1, 0, 1}, {2, 1, 0}};
  constexpr int kSigned[3][3] = {{2, 3, 4}, {1, 2, 3}, {0, 1, 2}};
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) {
      EXPECT_EQ(huang2020_row(Method::m1, 3, i - j), kBlind[i][j]);
      for (const Method method : {Method::m2, Method::m3, Method::m4})
        EXPECT_EQ(huang2020_row(method, 3, i - j), kSigned[i][j]);
      for (const Method method : {Method::relative_key, Method::relative_key_query})
        EXPECT_EQ(huang2020_row(method, 3, i - j), 4 - kSigned[i][j]);
    }
  EXPECT_EQ(huang2020_rows(Method::m1, 3), 3);
  EXPECT_EQ(huang2020_rows(Method::relative_key_query, 512), 1023);
}

// (q + a).(k + a) - a.a = q.k + q.a + k.a.
TEST(Huang2020, MethodFourIsTheProductOfShiftedVectors) {
  const std::vector<double> q = {0.5, -1, 2}, k = {1.5, 0.25, -0.75}, a = {-0.5, 2, 1};
  double shifted = 0;
  for (std::size_t d = 0; d < 3; ++d) shifted += (q[d] + a[d]) * (k[d] + a[d]) - a[d] * a[d];
  EXPECT_NEAR(huang2020_score(Method::m4, q.data(), k.data(), a.data(), 3), shifted / std::sqrt(3.0), 1e-15);
}

// Factors of one and vectors of one change nothing: m1, m2 and m3 are plain attention.
TEST(Huang2020, OnesAreNeutralInTheMultiplicativeMethods) {
  constexpr std::int64_t kN = 5, kH = 2, kD = 4;
  const Shape shape{2, kN, kH * kD};
  const Var q(random_tensor(shape, 1)), k(random_tensor(shape, 2)), v(random_tensor(shape, 3));
  AttentionOptions options;
  options.heads = kH;
  const std::vector<double> plain = testing::to_double(attention_composed({}, q, k, v, options).value());
  for (const Method method : {Method::m1, Method::m2}) {
    AttentionOptions scaled = options;
    add_huang2020({method, kN, Var(Tensor::full({huang2020_rows(method, kN), kH}, 1.0f))}, kD, kN, kN,
                  scaled);
    testing::expect_close(attention_composed({}, q, k, v, scaled).value(), plain, 1e-6, "a factor of 1");
  }
  const Huang2020 m3{Method::m3, kN, Var(Tensor::full({2 * kN - 1, kD}, 1.0f))};
  testing::expect_close(huang2020_m3_attention({}, m3, q, k, v, kH).value(), plain, 1e-6, "vectors of 1");
}

TEST(Huang2020, RefusesWhatDoesNotFit) {
  const auto add = [](Method method, std::int64_t n, const Tensor& table, std::int64_t N) {
    AttentionOptions options;
    options.heads = 2;
    add_huang2020({method, n, Var(table)}, 3, N, N, options);
  };
  EXPECT_NO_THROW(add(Method::m4, 4, Tensor::zeros({7, 3}), 4));
  EXPECT_NO_THROW(add(Method::m1, 4, Tensor::zeros({4, 2}), 4));
  EXPECT_THROW(add(Method::m4, 4, Tensor::zeros({8, 3}), 4), Error);
  EXPECT_THROW(add(Method::m1, 4, Tensor::zeros({7, 2}), 4), Error);
  EXPECT_THROW(add(Method::m2, 4, Tensor::zeros({7, 3}), 4), Error);
  EXPECT_THROW(add(Method::m4, 4, Tensor::zeros({7, 3}), 5), Error);  // no row for distance 4
  EXPECT_THROW(add(Method::m3, 4, Tensor::zeros({7, 3}), 4), Error);  // has no tile form
  EXPECT_THROW(add(Method::m4, 0, Tensor::zeros({1, 3}), 1), Error);
  EXPECT_THROW(huang2020_gather(Method::m4, 4, 3, 0), Error);
  EXPECT_THROW(huang2020_gather(Method::m4, 4, 2, 4, 3), Error);
  EXPECT_THROW(huang2020_gather(Method::m4, std::int64_t{1} << 40, 3, 3), Error);  // rows beyond 32 bits
  EXPECT_THROW(add(Method::m4, std::int64_t{1} << 62, Tensor::zeros({7, 3}), 4), Error);
  const Var q(Tensor::zeros({1, 4, 6}));
  EXPECT_THROW(huang2020_m3_attention({}, {Method::m3, 4, Var(Tensor::zeros({7, 4}))}, q, q, q, 2), Error);
  EXPECT_THROW(huang2020_m3_attention({}, {Method::m4, 4, Var(Tensor::zeros({7, 3}))}, q, q, q, 2), Error);
  EXPECT_THROW(huang2020_m3_attention({}, {Method::m3, 4, Var(Tensor::zeros({7, 3}))}, q, q, q, 4), Error);
}

}  // namespace huang2020_test
}  // namespace locant
