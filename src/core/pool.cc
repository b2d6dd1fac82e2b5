#include "core/pool.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/fork.h"

namespace locant {
namespace {

constexpr std::int64_t kAlignment = 64;
/// Requests from one look for buffers idle too long to the next.
constexpr std::int64_t kRequestsASweep = 256;

using Clock = std::chrono::steady_clock;

// Sizes are rounded so that nearly equal requests share buffers: to 64 bytes below 4 KiB, above it to an
// eighth of the next lower power of two (at most 12.5 % waste).
std::int64_t size_class(std::int64_t bytes) {
  std::int64_t step = kAlignment;
  if (bytes > 4096) {
    std::int64_t power = 4096;
    while (power * 2 <= bytes) power *= 2;
    step = power / 8;
  }
  return std::max<std::int64_t>((bytes + step - 1) / step * step, kAlignment);
}

/// A buffer that nobody uses, and when a sweep first met it so: letting go of one does not ask for the time.
struct Held {
  float* data = nullptr;
  std::optional<Clock::time_point> met = {};
};
/// By size class; of equal ones the last that came is the first, and still in the cache.
using Idle = std::multimap<std::int64_t, Held>;

void free_all(const Idle& idle) {
  for (const auto& [bytes, held] : idle) std::free(held.data);
}

}  // namespace

struct Pool::State {
  mutable std::mutex mutex;
  Idle idle;
  Stats stats;
  Clock::duration keep = std::chrono::minutes(1);
  std::int64_t requests = 0;

  void count(std::int64_t bytes, std::int64_t request) {
    stats.live_bytes += bytes;
    stats.peak_bytes = std::max(stats.peak_bytes, stats.live_bytes);
    stats.largest_request = std::max(stats.largest_request, request);
  }

  /// A buffer's entry among the idle ones, made when the buffer is: letting go of one needs no memory.
  struct LetGo {
    State* state;
    Idle::node_type entry;

    void operator()(float*) noexcept {
      entry.mapped().met.reset();
      const std::lock_guard lock(state->mutex);
      const std::int64_t bytes = entry.key();
      state->stats.live_bytes -= bytes;
      state->stats.idle_bytes += bytes;
      state->idle.insert(state->idle.lower_bound(bytes), std::move(entry));
    }
  };

  /// Not under the mutex: where there is no memory for the owners' count, LetGo takes it.
  std::shared_ptr<float> own(Idle::node_type entry) {
    float* data = entry.mapped().data;
    return std::shared_ptr<float>(data, LetGo{this, std::move(entry)});
  }

  /// Takes out what has been idle too long.
  Idle sweep() {
    Idle old;
    const Clock::time_point now = Clock::now();
    for (auto it = idle.begin(); it != idle.end();) {
      const auto next = std::next(it);
      if (!it->second.met) {
        it->second.met = now;
      } else if (now - *it->second.met >= keep) {
        stats.idle_bytes -= it->first;
        old.insert(idle.extract(it));
      }
      it = next;
    }
    return old;
  }
};

Pool::Pool() : state_(new State) { hold_over_fork(state_->mutex); }

Pool& Pool::global() {
  static Pool* pool = new Pool;
  return *pool;
}

std::shared_ptr<float> Pool::allocate(std::int64_t count) {
  require(count >= 0 && count <= (std::int64_t{1} << 46), "pool", "cannot allocate {} floats", count);
  const std::int64_t request = count * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t bytes = size_class(request);
  Idle::node_type entry;
  Idle old;
  {
    const std::lock_guard lock(state_->mutex);
    // A buffer up to a quarter too large serves as well.
    if (const auto it = state_->idle.lower_bound(bytes);
        it != state_->idle.end() && it->first <= bytes + bytes / 4) {
      state_->stats.idle_bytes -= it->first;
      state_->count(it->first, request);
      entry = state_->idle.extract(it);
    }
    if (++state_->requests % kRequestsASweep == 0) old = state_->sweep();
  }
  free_all(old);
  if (!entry.empty()) return state_->own(std::move(entry));
  Idle made;
  made.emplace(bytes, Held{});
  const auto size = static_cast<std::size_t>(bytes);
  auto* data = static_cast<float*>(std::aligned_alloc(kAlignment, size));
  if (data == nullptr) {
    trim();
    data = static_cast<float*>(std::aligned_alloc(kAlignment, size));
  }
  require(data != nullptr, "pool", "the system has no {} bytes left; use a smaller batch or picture", bytes);
  made.begin()->second.data = data;
  {
    const std::lock_guard lock(state_->mutex);
    state_->count(bytes, request);
  }
  return state_->own(made.extract(made.begin()));
}

void Pool::trim() {
  Idle idle;
  {
    const std::lock_guard lock(state_->mutex);
    idle.swap(state_->idle);
    state_->stats.idle_bytes = 0;
  }
  free_all(idle);
}

void Pool::keep_idle_for(std::chrono::milliseconds time) {
  const std::lock_guard lock(state_->mutex);
  state_->keep = time;
}

Pool::Stats Pool::stats() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stats;
}

void Pool::reset_peak() {
  const std::lock_guard lock(state_->mutex);
  state_->stats.peak_bytes = state_->stats.live_bytes;
  state_->stats.largest_request = 0;
}

}  // namespace locant
