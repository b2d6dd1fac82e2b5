#include "core/fork.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/parallel.h"
#include "core/pool.h"
#include "core/spin.h"
#include "core/tensor.h"
#include "tests/support/child.h"

namespace locant {
namespace fork_test {

using testing::exit_code_of_child;

/// Runs a region of `threads` shares; true when each item was met once.
bool region_works() {
  std::atomic<int> total{0};
  parallel_for(1000, 1,
               [&](std::int64_t begin, std::int64_t end) { total += static_cast<int>(end - begin); });
  return total.load() == 1000;
}

class Fork : public ::testing::Test {
 protected:
  Fork() : before_(num_threads()) {}
  ~Fork() override { set_num_threads(before_); }

 private:
  int before_;
};

TEST_F(Fork, ChildOfThreadsWorksInOne) {
  set_num_threads(3);
  ASSERT_TRUE(region_works());
  EXPECT_GT(testing::process_threads(), 1);
  for (const bool through_exit : {false, true})
    EXPECT_EQ(exit_code_of_child(
                  [] {
                    if (!forked_from_threads() || num_threads() != 1) return 1;
                    set_num_threads(3);  // says nothing there
                    if (num_threads() != 1 || !region_works()) return 2;
                    int shares = 0;
                    parallel_threads([&](int, int threads) { shares += threads; });
                    return shares == 1 ? 0 : 3;
                  },
                  through_exit),
              0);
  EXPECT_FALSE(forked_from_threads());
  EXPECT_EQ(num_threads(), 3);
  EXPECT_TRUE(region_works());
}

TEST_F(Fork, GrandchildWorksInOne) {
  set_num_threads(2);
  ASSERT_TRUE(region_works());
  EXPECT_EQ(exit_code_of_child([] { return exit_code_of_child([] { return region_works() ? 0 : 1; }); }), 0);
}

TEST_F(Fork, ChildMayShortenSpinning) {
  set_num_threads(2);
  ASSERT_TRUE(region_works());
  EXPECT_EQ(exit_code_of_child([] {
              shorten_spinning();
              return region_works() ? 0 : 1;
            }),
            0);
}

// Only in a process of its own, as ctest runs tests, has nobody started threads yet.
TEST_F(Fork, ChildOfOneThreadUsesAll) {
  if (testing::process_threads() > 1) GTEST_SKIP() << "other tests have started threads";
  set_num_threads(3);
  EXPECT_EQ(exit_code_of_child([] {
              if (forked_from_threads() || num_threads() != 3 || !region_works()) return 1;
              return testing::process_threads() == 3 ? 0 : 2;
            }),
            0);
}

// Another thread may be inside the pool when the process forks.
TEST_F(Fork, ChildFindsThePoolUnlocked) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) const Tensor t({64});
  });
  int failed = 0;
  for (int i = 0; i < 20; ++i)
    failed += exit_code_of_child([] {
                const Tensor t = Tensor::full({64}, 1.0f);
                return t[63] == 1.0f ? 0 : 1;
              }) != 0;
  stop = true;
  busy.join();
  EXPECT_EQ(failed, 0);
}

}  // namespace fork_test
}  // namespace locant
