#include "core/pool.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::int64_t kAlignment = 64;

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

}  // namespace

struct Pool::State {
  mutable std::mutex mutex;
  std::multimap<std::int64_t, float*> idle;  // size class -> buffer
  Stats stats;

  void count(std::int64_t bytes, std::int64_t request) {
    stats.live_bytes += bytes;
    stats.peak_bytes = std::max(stats.peak_bytes, stats.live_bytes);
    stats.largest_request = std::max(stats.largest_request, request);
  }

  std::shared_ptr<float> own(float* data, std::int64_t bytes) {
    return std::shared_ptr<float>(data, [this, bytes](float* p) {
      std::lock_guard lock(mutex);
      idle.emplace(bytes, p);
      stats.live_bytes -= bytes;
      stats.idle_bytes += bytes;
    });
  }
};

Pool::Pool() : state_(new State) {}

Pool& Pool::global() {
  static Pool* pool = new Pool;
  return *pool;
}

std::shared_ptr<float> Pool::allocate(std::int64_t count) {
  require(count >= 0 && count <= (std::int64_t{1} << 46), "pool", "cannot allocate {} floats", count);
  const std::int64_t request = count * static_cast<std::int64_t>(sizeof(float));
  const std::int64_t bytes = size_class(request);
  {
    std::lock_guard lock(state_->mutex);
    // A buffer up to a quarter too large serves as well.
    if (auto it = state_->idle.lower_bound(bytes);
        it != state_->idle.end() && it->first <= bytes + bytes / 4) {
      const auto [held, data] = *it;
      state_->idle.erase(it);
      state_->stats.idle_bytes -= held;
      state_->count(held, request);
      return state_->own(data, held);
    }
  }
  const auto size = static_cast<std::size_t>(bytes);
  auto* data = static_cast<float*>(std::aligned_alloc(kAlignment, size));
  if (data == nullptr) {
    trim();
    data = static_cast<float*>(std::aligned_alloc(kAlignment, size));
  }
  require(data != nullptr, "pool", "the system has no {} bytes left; use a smaller batch or picture", bytes);
  std::lock_guard lock(state_->mutex);
  state_->count(bytes, request);
  return state_->own(data, bytes);
}

void Pool::trim() {
  std::multimap<std::int64_t, float*> idle;
  {
    std::lock_guard lock(state_->mutex);
    idle.swap(state_->idle);
    state_->stats.idle_bytes = 0;
  }
  for (auto& [bytes, data] : idle) std::free(data);
}

Pool::Stats Pool::stats() const {
  std::lock_guard lock(state_->mutex);
  return state_->stats;
}

void Pool::reset_peak() {
  std::lock_guard lock(state_->mutex);
  state_->stats.peak_bytes = state_->stats.live_bytes;
  state_->stats.largest_request = 0;
}

}  // namespace locant
