#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace locant {

/// Time spent in one kind of layer, time of scopes within it left out.
struct ProfileEntry {
  std::string kind;
  std::int64_t calls = 0;
  double seconds = 0.0;
  /// Of products and convolutions, forward; not of norms, activations and the like, nor of the position terms
  /// within attention.
  std::int64_t multiply_adds = 0;
};

/// Forgets earlier times and starts to measure, in the whole process.
void profile_start();
/// Stops measuring; the kinds seen since profile_start(), most time first.
std::vector<ProfileEntry> profile_stop();

namespace detail {
extern std::atomic<bool> profiling;
}

/// Counts the time until the end of the block under `kind`, a string literal:
///   ProfileScope scope("linear");
/// One relaxed load when nobody measures. Scopes nest: an outer scope does not count what an inner one does.
/// Belongs in the thread that calls an op, not inside parallel bodies (their times would add up beyond the
/// clock's).
class ProfileScope {
 public:
  explicit ProfileScope(const char* kind) {
    if (detail::profiling.load(std::memory_order_relaxed)) [[unlikely]]
      begin(kind);
  }
  ~ProfileScope() {
    if (kind_ != nullptr) [[unlikely]]
      end();
  }
  /// The multiply-adds of this call, which no scope within counts. Once a scope.
  void works(std::int64_t multiply_adds) { multiply_adds_ = multiply_adds; }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  void begin(const char* kind);
  void end();
  const char* kind_ = nullptr;
  ProfileScope* outer_ = nullptr;
  double start_ = 0.0;   // s, steady clock
  double inside_ = 0.0;  // s, spent in scopes within this one
  std::int64_t multiply_adds_ = 0;
};

}  // namespace locant
