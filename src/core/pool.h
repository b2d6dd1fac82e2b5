#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace locant {

/// 64-byte aligned float buffers that are kept and handed out again: first touch of fresh pages costs as much
/// as the arithmetic of a small layer. One per process.
/// Threads: any may call it, several at once, and let go of buffers that another asked for.
///
/// What nobody took for a minute (keep_idle_for) goes back to the system as later requests come in: touching
/// its pages again would then cost less than a hundredth of that time. While nobody asks for memory nothing
/// goes back; trim() does it at once. When the system has no memory all that is idle goes back first.
class Pool {
 public:
  static Pool& global();

  /// Uninitialised memory for `count` floats; goes back to the pool when the last owner lets go.
  /// Throws Error when the system has no memory.
  std::shared_ptr<float> allocate(std::int64_t count);

  /// Returns every idle buffer to the system.
  void trim();
  /// How long buffers are kept for reuse; 0: returned at the requests that follow. A minute at first.
  void keep_idle_for(std::chrono::milliseconds time);

  struct Stats {
    std::int64_t live_bytes = 0;       ///< in use now
    std::int64_t peak_bytes = 0;       ///< most in use at once since reset_peak()
    std::int64_t idle_bytes = 0;       ///< kept for reuse
    std::int64_t largest_request = 0;  ///< bytes of the largest single request since reset_peak()
  };
  Stats stats() const;
  void reset_peak();

  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

 private:
  Pool();
  ~Pool() = delete;  // lives as long as the process: buffers may outlive every static
  struct State;
  State* state_;
};

}  // namespace locant
