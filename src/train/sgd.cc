#include "train/sgd.h"

#include "core/error.h"

namespace locant {

Sgd::Sgd(const std::vector<Parameter>& parameters, const SgdOptions& options,
         const std::vector<double>& rates)
    : Optimizer("sgd", "m", parameters, rates), options_(options) {
  require(options_.momentum >= 0.0 && options_.momentum < 1.0 && options_.weight_decay >= 0.0, "sgd",
          "momentum {} must be in [0, 1), weight decay {} not negative", options_.momentum,
          options_.weight_decay);
}

void Sgd::update(const Slot& slot, std::int64_t begin, std::int64_t end, double lr,
                 float gradient_scale) const {
  Tensor weights = slot.parameter.value.value(), moment = slot.moments[0];  // the same storage
  float* __restrict w = weights.data();
  float* __restrict m = moment.data();
  const float* __restrict g = slot.parameter.value.grad().data();
  const float mu = static_cast<float>(options_.momentum), rate = static_cast<float>(lr);
  const float decay = slot.parameter.decays ? static_cast<float>(options_.weight_decay) : 0.0f;
  for (std::int64_t i = begin; i < end; ++i) {
    const float gi = g[i] * gradient_scale + decay * w[i];
    m[i] = mu * m[i] + gi;
    w[i] -= rate * (options_.nesterov ? gi + mu * m[i] : m[i]);
  }
}

}  // namespace locant
