#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "nn/weights.h"

namespace locant {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.05;  ///< of parameters whose `decays` says so
};

/// sqrt(sum of squares) of every gradient, in float64; the same bits for any number of threads. Parameters
/// without a gradient count as zero.
double gradient_norm(const std::vector<Parameter>& parameters);

/// What to multiply gradients by so that their norm is at most `max_norm`: max_norm / (norm + 1e-6) above it,
/// else 1. max_norm 0: no clipping.
double clip_factor(double norm, double max_norm);

/// Adam with decoupled weight decay (Loshchilov, Hutter 2019, algorithm 2; the decay is lr * weight_decay, as
/// in common use):
///   w -= lr * decay * w;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///   w -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
/// Elementwise in float32, the scalars in float64: the same bits for any number of threads.
class AdamW {
 public:
  /// Keeps the parameters' values by reference: step() writes their numbers in place. Throws Error for a
  /// parameter without numbers or an option out of range.
  AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options);

  /// One update from the gradients, each times `gradient_scale`. Parameters without a gradient stay as they
  /// are.
  void step(double lr, double gradient_scale = 1.0);

  std::int64_t steps() const { return steps_; }

  /// Moments as ("m." + name, tensor), ("v." + name, tensor), sharing storage.
  std::vector<std::pair<std::string, Tensor>> moments() const;
  /// The other way: copies from `find(name)`, and continues after `steps` updates.
  template <class Find>
  void restore(std::int64_t steps, Find&& find) {
    for (Slot& slot : slots_) {
      copy_into(slot.m, find("m." + slot.parameter.name));
      copy_into(slot.v, find("v." + slot.parameter.name));
    }
    steps_ = steps;
  }

 private:
  struct Slot {
    Parameter parameter;
    Tensor m, v;
  };
  static void copy_into(Tensor& to, const Tensor& from);

  AdamWOptions options_;
  std::vector<Slot> slots_;
  std::int64_t steps_ = 0;
};

}  // namespace locant
