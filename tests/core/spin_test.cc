#include "core/spin.h"

#include <gtest/gtest.h>

#include <atomic>

#include "core/parallel.h"
#include "tests/support/child.h"

namespace locant {
namespace spin_test {

// Whether they spin shorter is measured (docs/threads.md); here: they are few, and the work is the same.
TEST(Spin, StartsThreadsOnceAndRegionsWork) {
  unsetenv("OMP_WAIT_POLICY");
  unsetenv("GOMP_SPINCOUNT");
  const int before = num_threads();
  set_num_threads(2);
  const auto sum = [] {
    std::atomic<int> total{0};
    parallel_for(1000, 1,
                 [&](std::int64_t begin, std::int64_t end) { total += static_cast<int>(end - begin); });
    return total.load();
  };
  EXPECT_EQ(sum(), 1000);
  shorten_spinning();
  EXPECT_EQ(sum(), 1000);
  for (int wait = 0; wait < 100; ++wait) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto threads = testing::process_threads();
  shorten_spinning();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(testing::process_threads(), threads);
  EXPECT_EQ(sum(), 1000);
  set_num_threads(before);
}

TEST(Spin, LeavesAnEnvironmentThatSaysOtherwise) {
  setenv("OMP_WAIT_POLICY", "active", 1);
  const auto threads = testing::process_threads();
  shorten_spinning();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(testing::process_threads(), threads);
  unsetenv("OMP_WAIT_POLICY");
}

}  // namespace spin_test
}  // namespace locant
