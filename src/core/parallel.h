#pragma once

#include <cstdint>
#include <functional>

namespace locant {

/// Threads that parallel work uses; at least 1. The default is the cores that this process may use: its
/// affinity mask and its container's CPU quota are respected.
int num_threads();
/// Throws Error below 1. Takes effect at the next parallel call.
void set_num_threads(int threads);
/// What num_threads() starts from.
int available_cores();

/// Runs body(begin, end) over disjoint ranges that cover [0, count). The split depends only on count, grain
/// and the number of threads, so results that depend on it are reproducible. Ranges hold at least `grain`
/// items. Nested calls run in the calling thread. An exception of a body is rethrown in the caller (the
/// lowest range's first).
void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body);

/// Runs body(thread, threads) once in each of up to num_threads() threads.
void parallel_threads(const std::function<void(int, int)>& body);

}  // namespace locant
