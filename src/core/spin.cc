#include "core/spin.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/fork.h"
#include "core/parallel.h"

// Of the runtime that is loaded, if any is: oneDNN brings one where Locant is built without (clang).
extern "C" {
void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) __attribute__((weak));
int omp_get_num_procs() __attribute__((weak));
}

namespace locant {
namespace {

/// Blocks the calling thread's signals while it lives; threads started meanwhile never take one.
class BlockSignals {
 public:
  BlockSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t before_;
};

/// A team belongs to the thread that made it and lives as long: this one keeps `threads` for ever.
void start_sleepers(int threads) {
  const BlockSignals block;
  try {
    std::thread([threads] {
      GOMP_parallel([](void*) {}, nullptr, static_cast<unsigned>(threads), 0);
      for (;;) pause();
    }).detach();
  } catch (const std::system_error& error) {
    fail("threads", "cannot start a thread: {}", error.what());
  }
}

}  // namespace

void shorten_spinning() {
  const int threads = num_threads();
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  if (GOMP_parallel == nullptr || omp_get_num_procs == nullptr || forked_from_threads()) return;
  static std::mutex mutex;
  static int sleeping = 0;
  const std::lock_guard lock(mutex);
  // A team of n counts n - 1 threads beside the one that asks.
  const int wanted = omp_get_num_procs() - threads + 1;
  if (wanted <= sleeping) return;
  start_sleepers(wanted - sleeping + 1);
  sleeping = wanted;
}

}  // namespace locant
