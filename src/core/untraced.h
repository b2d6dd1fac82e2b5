#pragma once

#include <cstdint>

#if defined(__SANITIZE_THREAD__)
#define LOCANT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LOCANT_TSAN 1
#endif
#endif

/// Long plain loops are the thread sanitizer's whole time where it follows every number. A function marked
/// LOCANT_UNTRACED is not followed; whoever calls it tells the sanitizer of the ranges that it reads and
/// writes, once, so a race on them is found all the same. Both are nothing in other builds.
#ifdef LOCANT_TSAN
#define LOCANT_UNTRACED __attribute__((no_sanitize("thread"), noinline))
extern "C" void __tsan_read_range(const void* begin, unsigned long bytes);
extern "C" void __tsan_write_range(void* begin, unsigned long bytes);
#else
#define LOCANT_UNTRACED
#endif

namespace locant {

/// `rows` rows of `columns` numbers, `stride` apart, are about to be read.
inline void trace_reads([[maybe_unused]] const float* first, [[maybe_unused]] std::int64_t rows,
                        [[maybe_unused]] std::int64_t columns, [[maybe_unused]] std::int64_t stride) {
#ifdef LOCANT_TSAN
  for (std::int64_t r = 0; r < rows; ++r)
    __tsan_read_range(first + r * stride, static_cast<unsigned long>(columns) * sizeof(float));
#endif
}

/// The same, written.
inline void trace_writes([[maybe_unused]] float* first, [[maybe_unused]] std::int64_t rows,
                         [[maybe_unused]] std::int64_t columns, [[maybe_unused]] std::int64_t stride) {
#ifdef LOCANT_TSAN
  for (std::int64_t r = 0; r < rows; ++r)
    __tsan_write_range(first + r * stride, static_cast<unsigned long>(columns) * sizeof(float));
#endif
}

}  // namespace locant
