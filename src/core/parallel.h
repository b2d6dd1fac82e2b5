#pragma once

#include <cstdint>
#include <functional>

namespace locant {

/// The most that may be asked for.
inline constexpr int kMaxThreads = 1024;

/// Threads that parallel work uses, at least 1: what set_num_threads() said, else LOCANT_NUM_THREADS, else
/// OMP_NUM_THREADS, else available_cores(). The environment is read once. Always 1 in a child forked from a
/// process that had several threads (core/fork.h). Throws Error when LOCANT_NUM_THREADS is no number of
/// threads.
int num_threads();
/// For the whole process; takes effect at the next parallel call. OpenMP's own settings stay as they are.
/// Threads: any may call it, at any time. Throws Error below 1
/// and above kMaxThreads.
void set_num_threads(int threads);
/// The cores that this process may use: its affinity mask, and the CPU quotas of its control group and of
/// those above it. Read once.
int available_cores();

/// Runs body(begin, end) over disjoint ranges that cover [0, count). The split depends only on count, grain
/// and the number of threads, so results that depend on it are reproducible. Ranges hold at least `grain`
/// items. Nested calls run in the calling thread. An exception of a body is rethrown in the caller (the
/// lowest range's first). Any thread may call it, and several at once.
void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body);

/// Runs body(thread, threads) once in each of up to num_threads() threads.
void parallel_threads(const std::function<void(int, int)>& body);

}  // namespace locant
