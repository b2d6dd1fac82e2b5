#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/count.h"

/// In a forked child, what the OpenMP runtime kept for the parent's threads belongs to nobody; read by the
/// leak sanitizer.
extern "C" [[gnu::visibility("default")]] const char* __lsan_default_suppressions() {
  return "leak:libgomp\nleak:_dlerror_run";
}

/// GoogleTest's own main, and a last line for scripts/ci_report: tests, assertions, and the slowest tests
/// with their milliseconds.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const int code = RUN_ALL_TESTS();
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  std::vector<std::pair<long, std::string>> slowest;
  for (int s = 0; s < all.total_test_suite_count(); ++s) {
    const testing::TestSuite& suite = *all.GetTestSuite(s);
    for (int t = 0; t < suite.total_test_count(); ++t) {
      const testing::TestInfo& test = *suite.GetTestInfo(t);
      if (test.should_run())
        slowest.emplace_back(static_cast<long>(test.result()->elapsed_time()),
                             std::string(suite.name()) + "." + test.name());
    }
  }
  std::sort(slowest.rbegin(), slowest.rend());
  slowest.resize(std::min<std::size_t>(slowest.size(), 3));
  std::printf("count: %d tests, %ld assertions;", all.test_to_run_count(),
              locant::testing::assertions.load());
  for (const auto& [milliseconds, name] : slowest) std::printf(" %s %ld ms", name.c_str(), milliseconds);
  std::printf("\n");
  return code;
}
