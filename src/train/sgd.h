#pragma once

#include "train/optimizer.h"

namespace locant {

struct SgdOptions {
  double momentum = 0.9;       ///< mu
  double weight_decay = 0.05;  ///< of parameters whose `decays` says so; added to the gradient
  bool nesterov = true;
};

/// Stochastic gradient descent with momentum (Sutskever et al. 2013), as torch.optim.SGD has it and timm's
/// "sgd" calls it:
///   g += decay * w;  m = mu m + g;  w -= lr * (g + mu m)  (nesterov), else lr * m
class Sgd final : public Optimizer {
 public:
  /// As AdamW.
  Sgd(const std::vector<Parameter>& parameters, const SgdOptions& options,
      const std::vector<double>& rates = {});

 private:
  void update(const Slot& slot, std::int64_t begin, std::int64_t end, double lr,
              float gradient_scale) const override;

  SgdOptions options_;
};

}  // namespace locant
