#include "core/profile.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>

namespace locant {

namespace detail {
std::atomic<bool> profiling{false};
}

namespace {

struct Totals {
  std::mutex mutex;
  std::map<std::string, ProfileEntry> by_kind;
};

Totals& totals() {
  static Totals instance;
  return instance;
}

thread_local ProfileScope* innermost = nullptr;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void profile_start() {
  Totals& all = totals();
  const std::lock_guard lock(all.mutex);
  all.by_kind.clear();
  detail::profiling.store(true, std::memory_order_relaxed);
}

std::vector<ProfileEntry> profile_stop() {
  Totals& all = totals();
  const std::lock_guard lock(all.mutex);
  detail::profiling.store(false, std::memory_order_relaxed);
  std::vector<ProfileEntry> entries;
  for (const auto& item : all.by_kind) entries.push_back(item.second);
  std::stable_sort(entries.begin(), entries.end(),
                   [](const ProfileEntry& a, const ProfileEntry& b) { return a.seconds > b.seconds; });
  return entries;
}

void ProfileScope::begin(const char* kind) {
  kind_ = kind;
  outer_ = innermost;
  innermost = this;
  start_ = now();
}

void ProfileScope::end() {
  const double elapsed = now() - start_;
  innermost = outer_;
  if (outer_ != nullptr) outer_->inside_ += elapsed;
  Totals& all = totals();
  const std::lock_guard lock(all.mutex);
  ProfileEntry& entry = all.by_kind[kind_];
  entry.kind = kind_;
  ++entry.calls;
  entry.seconds += elapsed - inside_;
  entry.multiply_adds += multiply_adds_;
}

}  // namespace locant
