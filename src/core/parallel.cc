#include "core/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <vector>

#include "core/error.h"

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

// cgroup v2 "max 100000" or "200000 100000"; v1 keeps the two numbers in two files. 0: no quota.
int quota_cores() {
  long quota = -1;
  long period = 0;
  if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    char text[32] = {};
    if (std::fscanf(file, "%31s %ld", text, &period) == 2 && std::strcmp(text, "max") != 0)
      quota = std::strtol(text, nullptr, 10);
    std::fclose(file);
  } else {
    const auto read = [](const char* path, long* value) {
      if (std::FILE* f = std::fopen(path, "r")) {
        if (std::fscanf(f, "%ld", value) != 1) *value = -1;
        std::fclose(f);
      }
    };
    read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota);
    read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period);
  }
  return quota > 0 && period > 0 ? static_cast<int>(std::max(1L, (quota + period - 1) / period)) : 0;
}

#ifdef LOCANT_OPENMP

void run(int threads, const std::function<void(int)>& body) {
// The runtime may grant fewer threads than asked for: each takes its share of the ids.
#pragma omp parallel num_threads(threads)
  for (int id = omp_get_thread_num(); id < threads; id += omp_get_num_threads()) body(id);
}

#else

// A plain pool for builds without OpenMP (clang, thread sanitizer). One job at a time.
class Workers {
 public:
  static Workers& instance() {
    static Workers workers;
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
  ~Workers() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    start_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void loop(int id) {
    long seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return stop_ || (generation_ != seen && body_ != nullptr && id < wanted_); });
      if (stop_) return;
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
  bool stop_ = false;
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
    cpu_set_t set;
    CPU_ZERO(&set);
    int count = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    if (const int quota = quota_cores(); quota > 0) count = std::min(count, quota);
    return std::max(count, 1);
  }();
  return cores;
}

int num_threads() {
  const int threads = g_threads.load(std::memory_order_relaxed);
  return threads > 0 ? threads : available_cores();
}

void set_num_threads(int threads) {
  require(threads >= 1 && threads <= 1024, "threads", "{} threads are not possible; ask for 1 to 1024",
          threads);
  g_threads.store(threads, std::memory_order_relaxed);
#ifdef LOCANT_OPENMP
  omp_set_num_threads(threads);
#endif
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
