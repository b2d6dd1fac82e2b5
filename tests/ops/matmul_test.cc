#include "ops/matmul.h"

#include <array>

#include "core/error.h"
#include "core/parallel.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace matmul_test {

using testing::random_tensor;

struct Case {
  std::int64_t M, N, K;
  bool transpose_a, transpose_b;
  float alpha, beta;
};

// Leading dimensions longer than the rows, so that a kernel which ignores them is found out.
constexpr std::int64_t kSlack = 3;

void check(const Case& c) {
  SCOPED_TRACE(::testing::Message() << c.M << " " << c.N << " " << c.K << " " << c.transpose_a
                                    << c.transpose_b << " " << c.beta);
  const std::int64_t lda = (c.transpose_a ? c.M : c.K) + kSlack, ldb = (c.transpose_b ? c.K : c.N) + kSlack,
                     ldc = c.N + kSlack;
  const Tensor a = random_tensor({c.transpose_a ? c.K : c.M, lda}, 1),
               b = random_tensor({c.transpose_b ? c.N : c.K, ldb}, 2);
  Tensor got = random_tensor({c.M, ldc}, 3);
  std::vector<double> want = testing::to_double(got);
  for (std::int64_t i = 0; i < c.M; ++i)
    for (std::int64_t j = 0; j < c.N; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < c.K; ++k)
        sum += static_cast<double>(c.transpose_a ? a[k * lda + i] : a[i * lda + k]) *
               static_cast<double>(c.transpose_b ? b[j * ldb + k] : b[k * ldb + j]);
      double& y = want[static_cast<std::size_t>(i * ldc + j)];
      y = static_cast<double>(c.alpha) * sum + static_cast<double>(c.beta) * y;
    }
  if (c.beta == 0.0f)  // C is not read
    for (std::int64_t i = 0; i < c.M; ++i) std::fill_n(got.data() + i * ldc, c.N, std::nanf(""));
  matmul({c.transpose_a, c.transpose_b, c.M, c.N, c.K, c.alpha, a.data(), lda, b.data(), ldb, c.beta,
          got.data(), ldc});
  testing::expect_close(got, want, 3e-6, "C");
}

TEST(Matmul, EveryTransposeOfOddSizes) {
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true})
      for (const auto& [M, N, K] :
           {std::array<std::int64_t, 3>{1, 1, 1}, {3, 5, 7}, {49, 33, 32}, {65, 129, 40}})
        for (const float beta : {0.0f, 1.0f, 0.5f})
          check({M, N, K, transpose_a, transpose_b, beta == 0.5f ? 2.0f : 1.0f, beta});
}

TEST(Matmul, NoInnerExtentScalesC) {
  Tensor c = Tensor::full({2, 2}, 4.0f);
  matmul({.M = 2, .N = 2, .K = 0, .lda = 0, .ldb = 2, .beta = 0.5f, .c = c.data(), .ldc = 2});
  EXPECT_FLOAT_EQ(c[3], 2.0f);
}

TEST(Matmul, BatchesAreTheSingleProducts) {
  for (const std::int64_t batch : {1, 3, 8}) {
    const Tensor a = random_tensor({batch, 5, 7}, 1), b = random_tensor({batch, 7, 6}, 2);
    Tensor got({batch, 5, 6}), want({batch, 5, 6});
    const MatmulArgs first{
        .M = 5, .N = 6, .K = 7, .a = a.data(), .lda = 7, .b = b.data(), .ldb = 6, .c = got.data(), .ldc = 6};
    matmul_batched(first, batch, 35, 42, 30);
    for (std::int64_t i = 0; i < batch; ++i) {
      MatmulArgs one = first;
      one.a = a.data() + 35 * i;
      one.b = b.data() + 42 * i;
      one.c = want.data() + 30 * i;
      matmul(one);
    }
    testing::expect_close(got, testing::to_double(want), 1e-6, "batch");
  }
}

TEST(Matmul, RepeatsToTheBit) {
  // Few outputs and a long sum: the case where threads would like to share the sum.
  const Tensor a = random_tensor({20000, 24}, 1), b = random_tensor({20000, 12}, 2);
  Tensor first({24, 12}), again({24, 12});
  MatmulArgs args{.transpose_a = true,
                  .M = 24,
                  .N = 12,
                  .K = 20000,
                  .a = a.data(),
                  .lda = 24,
                  .b = b.data(),
                  .ldb = 12,
                  .c = first.data(),
                  .ldc = 12};
  matmul(args);
  args.c = again.data();
  for (int i = 0; i < 20; ++i) {
    matmul(args);
    ASSERT_TRUE(std::equal(first.values().begin(), first.values().end(), again.values().begin()));
  }
}

TEST(Matmul, BadSizesAreErrors) {
  Tensor c({2, 2});
  EXPECT_THROW(matmul({.M = -1, .N = 2, .K = 2, .lda = 2, .ldb = 2, .c = c.data(), .ldc = 2}), Error);
  EXPECT_THROW(matmul({.M = 2, .N = 2, .K = 2, .lda = 1, .ldb = 2, .c = c.data(), .ldc = 2}), Error);
  EXPECT_THROW(packed_matmul_seconds(0), Error);
}

TEST(Matmul, PackedRateIsMeasured) {
  EXPECT_GT(packed_matmul_seconds(64), 0.0);
  EXPECT_LT(packed_matmul_seconds(64), 10.0);
}

}  // namespace matmul_test
}  // namespace locant
