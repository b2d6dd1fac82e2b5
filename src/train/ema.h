#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "nn/weights.h"

namespace locant {

/// Exponential moving average (Polyak, Juditsky 1992; Tarvainen, Valpola 2017), a = d a + (1 - d) w, of
/// weights and of running statistics alike, as timm's ModelEmaV2 has it: of all that a checkpoint holds.
class Ema {
 public:
  /// `decay` in [0, 1). Warm-up uses min(decay, (1 + n) / (10 + n)) at update n = 0, 1, ..., so that the
  /// random start is soon forgotten. The average starts as a copy of the values. Throws Error.
  Ema(const std::vector<Parameter>& parameters, double decay, bool warmup = true);

  /// After an optimiser step.
  void update();
  double decay_at(std::int64_t update) const;
  std::int64_t updates() const { return updates_; }

  /// Averages under the parameters' names, sharing storage.
  std::vector<std::pair<std::string, Tensor>> averages() const;
  /// Exchanges averages and values: call once before and once after using the averages in the model.
  void swap();

  /// Copies from `find(name)`, and continues after `updates`.
  template <class Find>
  void restore(std::int64_t updates, Find&& find) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) restore_one(i, find(parameters_[i].name));
    updates_ = updates;
  }

 private:
  void restore_one(std::size_t index, const Tensor& from);

  std::vector<Parameter> parameters_;
  std::vector<Tensor> averages_;
  double decay_;
  bool warmup_;
  std::int64_t updates_ = 0;
};

}  // namespace locant
