// Operations beside other users of threads: forked children, and programs with OpenMP settings of their own.

#include <gtest/gtest.h>

#include <memory>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/attention/attention.h"
#include "ops/conv2d.h"
#include "ops/linear.h"
#include "ops/matmul.h"
#include "tests/support/child.h"
#include "tests/support/gradcheck.h"

extern "C" {
void omp_set_num_threads(int) __attribute__((weak));
int omp_get_max_threads() __attribute__((weak));
}

namespace locant {
namespace threads_test {

using testing::exit_code_of_child;
using testing::random_tensor;

class Threads : public ::testing::Test {
 protected:
  Threads() : before_(num_threads()) {}
  ~Threads() override { set_num_threads(before_); }

 private:
  int before_;
};

/// A result of each kind of parallel work: matrix products, packed ones, convolutions, attention with its
/// gradient.
std::vector<Tensor> some_work() {
  const Tensor x = random_tensor({96, 64}, 1), weight = random_tensor({128, 64}, 2),
               bias = random_tensor({128}, 3);
  std::vector<Tensor> results = {linear_forward(x, weight, bias),
                                 PackedLinear(weight, bias).forward(x, Activation::gelu, Tensor())};
  results.push_back(
      conv2d_forward(random_tensor({2, 8, 20, 20}, 4), random_tensor({16, 8, 3, 3}, 5), Tensor(), {}));
  Tape tape;
  const Var qkv(random_tensor({2, 200, 3 * 2 * 16}, 6), true);
  AttentionOptions options;
  options.heads = 2;
  const Var y = attention({.tape = &tape}, qkv, options);
  tape.backward({{y, random_tensor(y.shape(), 7)}});
  results.push_back(y.value());
  results.push_back(qkv.grad());
  Tensor products({5, 30, 30});
  matmul_batched({.M = 30,
                  .N = 30,
                  .K = 12,
                  .a = x.data(),
                  .lda = 12,
                  .b = weight.data(),
                  .ldb = 30,
                  .c = products.data(),
                  .ldc = 30},
                 5, 360, 360, 900);
  results.push_back(products);
  return results;
}

TEST_F(Threads, ForkedChildDoesTheSameWork) {
  set_num_threads(2);
  const std::vector<Tensor> want = some_work();
  ASSERT_GT(testing::process_threads(), 1);
  for (const bool through_exit : {false, true})
    EXPECT_EQ(exit_code_of_child(
                  [&] {
                    const std::vector<Tensor> got = some_work();
                    for (std::size_t i = 0; i < want.size(); ++i)
                      for (std::int64_t x = 0; x < want[i].numel(); ++x)
                        if (!(std::abs(got[i][x] - want[i][x]) <= 1e-4f * (1.0f + std::abs(want[i][x]))))
                          return 1;
                    return 0;
                  },
                  through_exit),
              0);
}

TEST_F(Threads, TheCallersOpenMpSettingsStay) {
  if (omp_set_num_threads == nullptr) GTEST_SKIP() << "no OpenMP runtime is loaded";
  const int before = omp_get_max_threads();
  for (const int theirs : {1, 3}) {
    omp_set_num_threads(theirs);
    for (const int ours : {1, 2}) {
      set_num_threads(ours);
      EXPECT_EQ(omp_get_max_threads(), theirs);
      some_work();
      EXPECT_EQ(omp_get_max_threads(), theirs) << ours;
      EXPECT_EQ(num_threads(), ours);
      EXPECT_THROW(matmul({.M = -1}), Error);
      EXPECT_EQ(omp_get_max_threads(), theirs) << ours;
    }
  }
  omp_set_num_threads(before);
}

// Whatever the caller's OpenMP says, Locant's own number decides, and with it the bits.
TEST_F(Threads, TheCallersOpenMpSettingsDoNotCount) {
  if (omp_set_num_threads == nullptr) GTEST_SKIP() << "no OpenMP runtime is loaded";
  const int before = omp_get_max_threads();
  set_num_threads(2);
  const std::vector<Tensor> want = some_work();
  for (const int theirs : {1, 3}) {
    omp_set_num_threads(theirs);
    const std::vector<Tensor> got = some_work();
    for (std::size_t i = 0; i < want.size(); ++i)
      EXPECT_TRUE(std::equal(got[i].values().begin(), got[i].values().end(), want[i].values().begin()));
  }
  omp_set_num_threads(before);
}

}  // namespace threads_test
}  // namespace locant
