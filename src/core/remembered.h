#pragma once

#include <atomic>
#include <cstdint>
#include <limits>
#include <optional>

namespace locant {

/// A number that was once found out about constants which several layers and threads share. Who needs it
/// asks, and says what it found out: any thread may, for all find the same. A copy starts without it, because
/// copies are made to be changed.
class Remembered {
 public:
  Remembered() = default;
  Remembered(const Remembered&) noexcept {}
  Remembered& operator=(const Remembered&) noexcept {
    known_ = kNothing;
    return *this;
  }

  std::optional<std::int64_t> get() const {
    const std::int64_t known = known_;
    return known == kNothing ? std::nullopt : std::optional(known);
  }
  void set(std::int64_t number) const { known_ = number; }

 private:
  static constexpr std::int64_t kNothing = std::numeric_limits<std::int64_t>::min();
  mutable std::atomic<std::int64_t> known_{kNothing};
};

}  // namespace locant
