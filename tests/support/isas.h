#pragma once

#include <vector>

#include "simd/isa.h"

namespace locant::testing {

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LOCANT_TEST_ONE_ISA
#endif
#endif

/// The instruction sets that a test goes through: all that the machine has. Under the thread sanitizer the
/// best alone: threads share out work alike on each.
inline std::vector<Isa> tested_isas() {
#ifdef LOCANT_TEST_ONE_ISA
  return {supported_isas().back()};
#else
  return supported_isas();
#endif
}

}  // namespace locant::testing
