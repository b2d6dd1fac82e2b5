#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

#include "core/error.h"

namespace locant {
namespace parallel_test {

TEST(Parallel, CoversEachItemOnce) {
  for (const int threads : {1, 2, 3, 5}) {
    set_num_threads(threads);
    std::vector<int> hits(1003, 0);
    parallel_for(1003, 10, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) ++hits[static_cast<std::size_t>(i)];
    });
    for (const int hit : hits) ASSERT_EQ(hit, 1);
  }
  set_num_threads(available_cores());
}

TEST(Parallel, NestedCallsRunInTheCallingThread) {
  set_num_threads(2);
  std::atomic<int> total{0};
  parallel_for(4, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      parallel_for(8, 1, [&](std::int64_t b, std::int64_t e) { total += static_cast<int>(e - b); });
  });
  EXPECT_EQ(total.load(), 32);
  set_num_threads(available_cores());
}

TEST(Parallel, RethrowsInTheCaller) {
  set_num_threads(2);
  EXPECT_THROW(parallel_threads([](int thread, int) {
                 if (thread == 1) throw std::runtime_error("worker");
               }),
               std::runtime_error);
  EXPECT_THROW(set_num_threads(0), Error);
  set_num_threads(available_cores());
}

}  // namespace parallel_test
}  // namespace locant
