// What attention with each encoding asks memory for, forward and backward, from 1,024 to 4,096 tokens; to
// 16,384 (a minute) when LOCANT_ALL_SIZES is set.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "core/parallel.h"
#include "core/pool.h"
#include "position/catalogue/all.h"
#include "tests/support/gradcheck.h"

namespace locant::testing {
namespace encodings_memory_test {

struct Asked {
  std::int64_t peak = 0;     ///< bytes in use at once, beyond what was there before
  std::int64_t largest = 0;  ///< bytes of one request
};

Asked asked(const Encoding& encoding, std::int64_t side) {
  EncodingCase c{.H = 2, .D = 8, .Dv = 8};
  c.query = c.key = natural_grid(encoding, side);
  const EncodingInstance instance = encoding.make(c);
  const Var q(random_tensor({c.B, c.Nq(), c.H * c.D}, 1), true),
      k(random_tensor({c.B, c.Nk(), c.H * c.D}, 2), true),
      v(random_tensor({c.B, c.Nk(), c.H * c.Dv}, 3), true);
  const Tensor dout = Tensor::full({c.B, c.Nq(), c.H * c.Dv}, 1.0f);
  Pool::global().trim();
  Pool::global().reset_peak();
  const std::int64_t before = Pool::global().stats().live_bytes;
  {
    Tape tape;
    const Var out = instance.run({.tape = &tape}, q, k, v, AttentionPath::fused);
    tape.backward({{out, dout}});
  }
  const Pool::Stats stats = Pool::global().stats();
  return {stats.peak_bytes - before, stats.largest_request};
}

// One thread: the parts that threads have of a head's gradients come and go with the sizes.
class EncodingMemory : public ::testing::TestWithParam<const Encoding*> {
 protected:
  EncodingMemory() { set_num_threads(1); }
  ~EncodingMemory() override { set_num_threads(threads_); }
  int threads_ = num_threads();
};

// Four times the tokens: four times the bytes; eight where numbers belong to a token and a side of the grid
// (N^1.5). No single request is anything like N x N.
TEST_P(EncodingMemory, GrowsWithTheTokens) {
  const Encoding& encoding = *GetParam();
  if (encoding.growth == MemoryGrowth::quadratic) {
    EXPECT_EQ(std::string_view(encoding.name), "dense_bias");  // N x N by nature; no other may be
    return;
  }
  const double most = encoding.growth == MemoryGrowth::linear ? 4.0 : 8.0;
  const std::int64_t last = std::getenv("LOCANT_ALL_SIZES") != nullptr ? 128 : 64;
  Asked small = asked(encoding, 32);
  for (std::int64_t side = 64; side <= last; side *= 2) {
    const Asked large = asked(encoding, side);
    const std::int64_t N = side * side;
    EXPECT_LE(static_cast<double>(large.peak), 1.1 * most * static_cast<double>(small.peak)) << fmt::format(
        "{}: {} bytes at {} tokens, {} at {}", encoding.name, small.peak, N / 4, large.peak, N);
    EXPECT_LT(large.largest, 4 * N * N / 2) << encoding.name;
    small = large;
  }
}

INSTANTIATE_TEST_SUITE_P(All, EncodingMemory, ::testing::ValuesIn(encodings()),
                         [](const auto& info) { return std::string(info.param->name); });

}  // namespace encodings_memory_test
}  // namespace locant::testing
