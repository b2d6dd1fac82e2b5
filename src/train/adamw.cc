#include "train/adamw.h"

#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

struct StepScalars {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float rate;        // lr / (1 - b1^t)
  float root_bias2;  // 1 / sqrt(1 - b2^t)
  float eps, scale;
};

void move(float* __restrict w, float* __restrict m, float* __restrict v, const float* __restrict g,
          float keep, const StepScalars& s, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float gi = g[i] * s.scale;
    const float mi = s.beta1 * m[i] + s.one_minus_beta1 * gi;
    const float vi = s.beta2 * v[i] + s.one_minus_beta2 * (gi * gi);
    m[i] = mi;
    v[i] = vi;
    w[i] = keep * w[i] - s.rate * mi / (std::sqrt(vi) * s.root_bias2 + s.eps);
  }
}

}  // namespace

AdamW::AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options,
             const std::vector<double>& rates)
    : Optimizer("adamw", "mv", parameters, rates), options_(options) {
  require(options_.beta1 >= 0.0 && options_.beta1 < 1.0 && options_.beta2 >= 0.0 && options_.beta2 < 1.0,
          "adamw", "betas {} and {} must be in [0, 1)", options_.beta1, options_.beta2);
  require(options_.eps > 0.0 && options_.weight_decay >= 0.0, "adamw",
          "eps {} must be positive, weight decay {} not negative", options_.eps, options_.weight_decay);
}

void AdamW::update(const Slot& slot, std::int64_t begin, std::int64_t end, double lr,
                   float gradient_scale) const {
  const double t = static_cast<double>(steps());
  const StepScalars scalars{static_cast<float>(options_.beta1),
                            static_cast<float>(1.0 - options_.beta1),
                            static_cast<float>(options_.beta2),
                            static_cast<float>(1.0 - options_.beta2),
                            static_cast<float>(lr / (1.0 - std::pow(options_.beta1, t))),
                            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, t))),
                            static_cast<float>(options_.eps),
                            gradient_scale};
  Tensor w = slot.parameter.value.value(), m = slot.moments[0], v = slot.moments[1];  // the same storage
  const float keep = slot.parameter.decays ? static_cast<float>(1.0 - lr * options_.weight_decay) : 1.0f;
  move(w.data() + begin, m.data() + begin, v.data() + begin, slot.parameter.value.grad().data() + begin, keep,
       scalars, end - begin);
}

}  // namespace locant
