#include "core/fork.h"

#include <dirent.h>
#include <pthread.h>

#include <atomic>
#include <vector>

namespace locant {
namespace {

std::atomic<bool> g_parent_had_threads{false};
std::atomic<bool> g_forked{false};

/// Mutexes that are held over a fork; never destroyed.
struct HeldMutexes {
  std::mutex mutex;
  std::vector<std::mutex*> mutexes;
};

HeldMutexes& held() {
  static HeldMutexes& all = *new HeldMutexes;
  return all;
}

/// True also where the system does not tell.
bool several_threads() {
  DIR* tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return true;
  int count = 0;
  while (const dirent* entry = readdir(tasks))
    if (entry->d_name[0] != '.') ++count;
  closedir(tasks);
  return count != 1;
}

void before_fork() {
  held().mutex.lock();
  for (auto at = held().mutexes.rbegin(); at != held().mutexes.rend(); ++at) (*at)->lock();
  g_parent_had_threads.store(several_threads());
}

void after_fork() {
  for (std::mutex* mutex : held().mutexes) mutex->unlock();
  held().mutex.unlock();
}

void in_child() {
  if (g_parent_had_threads.load()) g_forked.store(true);
  after_fork();
}

// From the start on: what the process forks before its first call of Locant has no other threads either.
[[maybe_unused]] const int g_registered = pthread_atfork(before_fork, after_fork, in_child);

}  // namespace

bool forked_from_threads() { return g_forked.load(std::memory_order_relaxed); }

void hold_over_fork(std::mutex& mutex) {
  const std::lock_guard lock(held().mutex);
  held().mutexes.push_back(&mutex);
}

}  // namespace locant
