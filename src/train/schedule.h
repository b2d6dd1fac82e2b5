#pragma once

#include <cstdint>

namespace locant {

/// Learning rate of each step: linear warm-up, then half a cosine (Loshchilov, Hutter 2017, "SGDR", equation
/// 5 without restarts). Steps count from 0.
///   s <  W: lr (s + 1) / W
///   s >= W: min_lr + (lr - min_lr) (1 + cos(pi (s - W) / (T - W))) / 2
struct CosineSchedule {
  double lr = 1e-3;
  double min_lr = 0.0;
  std::int64_t warmup_steps = 0;  ///< W
  std::int64_t total_steps = 1;   ///< T

  /// Throws Error for a negative rate or step count, W > T, or a step outside [0, T).
  double at(std::int64_t step) const;
};

}  // namespace locant
