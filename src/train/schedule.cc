#include "train/schedule.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace locant {

double CosineSchedule::at(std::int64_t step) const {
  require(lr >= 0.0 && min_lr >= 0.0 && std::isfinite(lr) && std::isfinite(min_lr), "schedule",
          "learning rates {} and {} must be finite and not negative", lr, min_lr);
  require(warmup_steps >= 0 && warmup_steps <= total_steps, "schedule", "{} warm-up steps of {} steps",
          warmup_steps, total_steps);
  require(step >= 0 && step < total_steps, "schedule", "step {} is not in [0, {})", step, total_steps);
  if (step < warmup_steps) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup_steps);
  const double t = static_cast<double>(step - warmup_steps) / static_cast<double>(total_steps - warmup_steps);
  return min_lr + (lr - min_lr) * 0.5 * (1.0 + std::cos(std::numbers::pi * t));
}

}  // namespace locant
