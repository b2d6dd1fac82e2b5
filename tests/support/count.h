#pragma once

#include <gtest/gtest.h>

#include <atomic>

namespace locant::testing {

/// Assertions that were made, passed or failed.
inline std::atomic<long> assertions{0};

inline int count_assertion() {
  assertions.fetch_add(1, std::memory_order_relaxed);
  return 0;
}

}  // namespace locant::testing

// Every EXPECT and ASSERT begins with this switch, which guards against a dangling else.
#ifndef GTEST_AMBIGUOUS_ELSE_BLOCKER_
#error "GoogleTest has changed: count its assertions in another way"
#endif
#undef GTEST_AMBIGUOUS_ELSE_BLOCKER_
#define GTEST_AMBIGUOUS_ELSE_BLOCKER_           \
  switch (::locant::testing::count_assertion()) \
  case 0:                                       \
  default:
