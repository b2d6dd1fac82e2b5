#pragma once

#include "train/optimizer.h"

namespace locant {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.05;  ///< of parameters whose `decays` says so
};

/// Adam with decoupled weight decay (Loshchilov, Hutter 2019, algorithm 2; the decay is lr * weight_decay, as
/// in common use):
///   w -= lr * decay * w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///   w -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
class AdamW final : public Optimizer {
 public:
  /// Keeps the parameters' values by reference: step() writes their numbers in place. `rates`: of each
  /// parameter, times lr; none: 1. Throws Error for a parameter without numbers or an option out of range.
  AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options,
        const std::vector<double>& rates = {});

 private:
  void update(const Slot& slot, std::int64_t begin, std::int64_t end, double lr,
              float gradient_scale) const override;

  AdamWOptions options_;
};

}  // namespace locant
