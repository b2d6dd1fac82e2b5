#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <vector>

#include "core/cpu_limit.h"
#include "core/error.h"
#include "core/fork.h"
#include "core/thread_count.h"

#ifdef LOCANT_OPENMP
#include <omp.h>
#else
#include <condition_variable>
#include <mutex>
#include <thread>
#endif

namespace locant {
namespace {

std::atomic<int> g_threads{0};
thread_local bool t_inside = false;

// An empty variable counts as unset.
const char* environment(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? text : nullptr;
}

int default_threads() {
  static const int threads = [] {
    if (const char* text = environment("LOCANT_NUM_THREADS")) return parse_locant_num_threads(text);
    if (const char* text = environment("OMP_NUM_THREADS"))
      if (const auto number = parse_omp_num_threads(text)) return *number;
    return available_cores();
  }();
  return threads;
}

#ifdef LOCANT_OPENMP

void run(int threads, const std::function<void(int)>& body) {
  // Where teams of several sizes follow each other the runtime ends threads and starts them anew: all take
  // part in each region, those beyond `threads` with nothing to do. It may also grant fewer than were asked
  // for: each takes its share of the ids.
  const int team = std::max(threads, num_threads());
#pragma omp parallel num_threads(team)
  for (int id = omp_get_thread_num(); id < threads; id += omp_get_num_threads()) body(id);
}

#else

// A plain pool for builds without OpenMP (clang, thread sanitizer). One job at a time.
class Workers {
 public:
  /// Never destroyed: its threads end with the process, and a child of fork() has none to wait for.
  static Workers& instance() {
    static Workers& workers = *new Workers;
    return workers;
  }

  void run(int threads, const std::function<void(int)>& body) {
    std::lock_guard job(job_mutex_);
    {
      std::lock_guard lock(mutex_);
      while (static_cast<int>(workers_.size()) < threads - 1)
        workers_.emplace_back([this, id = static_cast<int>(workers_.size()) + 1] { loop(id); });
      body_ = &body;
      wanted_ = threads;
      pending_ = threads - 1;
      ++generation_;
    }
    start_.notify_all();
    body(0);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    body_ = nullptr;
  }

 private:
  void loop(int id) {
    long seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return generation_ != seen && body_ != nullptr && id < wanted_; });
      seen = generation_;
      const auto* body = body_;
      lock.unlock();
      (*body)(id);
      lock.lock();
      if (--pending_ == 0) done_.notify_one();
    }
  }

  std::mutex job_mutex_, mutex_;
  std::condition_variable start_, done_;
  std::vector<std::thread> workers_;
  const std::function<void(int)>* body_ = nullptr;
  int wanted_ = 0;
  int pending_ = 0;
  long generation_ = 0;
};

void run(int threads, const std::function<void(int)>& body) { Workers::instance().run(threads, body); }

#endif

// Exceptions must not leave a worker: the lowest thread's is kept and rethrown.
void run_guarded(int threads, const std::function<void(int)>& body) {
  if (threads <= 1 || t_inside) {
    body(0);
    return;
  }
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(threads));
  run(threads, [&](int thread) {
    t_inside = true;
    try {
      body(thread);
    } catch (...) {
      errors[static_cast<std::size_t>(thread)] = std::current_exception();
    }
    t_inside = false;
  });
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace

int available_cores() {
  static const int cores = [] {
    const int quota = quota_cores();
    return quota > 0 ? std::min(affinity_cores(), quota) : affinity_cores();
  }();
  return cores;
}

int num_threads() {
  if (forked_from_threads()) return 1;
  const int threads = g_threads.load(std::memory_order_relaxed);
  return threads > 0 ? threads : default_threads();
}

void set_num_threads(int threads) {
  require(threads >= 1 && threads <= kMaxThreads, "threads", "{} threads are not possible; ask for 1 to {}",
          threads, kMaxThreads);
  g_threads.store(threads, std::memory_order_relaxed);
}

void parallel_for(std::int64_t count, std::int64_t grain,
                  const std::function<void(std::int64_t, std::int64_t)>& body) {
  if (count <= 0) return;
  const std::int64_t most = std::max<std::int64_t>(count / std::max<std::int64_t>(grain, 1), 1);
  const int threads = static_cast<int>(std::min<std::int64_t>(num_threads(), most));
  if (threads <= 1 || t_inside) {
    body(0, count);
    return;
  }
  run_guarded(threads, [&](int thread) {
    const std::int64_t begin = count * thread / threads;
    const std::int64_t end = count * (thread + 1) / threads;
    if (begin < end) body(begin, end);
  });
}

void parallel_threads(const std::function<void(int, int)>& body) {
  const int threads = t_inside ? 1 : num_threads();
  run_guarded(threads, [&](int thread) { body(thread, threads); });
}

}  // namespace locant
