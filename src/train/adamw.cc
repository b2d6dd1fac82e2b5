#include "train/adamw.h"

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "train/blocks.h"

namespace locant {
namespace {

struct StepScalars {
  float beta1, one_minus_beta1, beta2, one_minus_beta2;
  float rate;        // lr / (1 - b1^t)
  float root_bias2;  // 1 / sqrt(1 - b2^t)
  float eps, scale;
};

void update(float* __restrict w, float* __restrict m, float* __restrict v, const float* __restrict g,
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

double gradient_norm(const std::vector<Parameter>& parameters) {
  std::vector<std::int64_t> sizes;
  for (const Parameter& p : parameters)
    sizes.push_back(p.value.grad().defined() ? p.value.grad().numel() : 0);
  const std::vector<Block> blocks = blocks_of(sizes);
  std::vector<double> sums(blocks.size());
  parallel_for(static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Block& block = blocks[static_cast<std::size_t>(b)];
      const float* g = parameters[block.tensor].value.grad().data();
      double lanes[4] = {};  // four sums keep the additions from waiting for each other
      std::int64_t i = block.begin;
      for (; i + 4 <= block.end; i += 4)
        for (int k = 0; k < 4; ++k) lanes[k] += static_cast<double>(g[i + k]) * static_cast<double>(g[i + k]);
      for (; i < block.end; ++i) lanes[0] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
      sums[static_cast<std::size_t>(b)] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    }
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

double clip_factor(double norm, double max_norm) {
  return max_norm > 0.0 && norm > max_norm ? max_norm / (norm + 1e-6) : 1.0;
}

AdamW::AdamW(const std::vector<Parameter>& parameters, const AdamWOptions& options) : options_(options) {
  require(options_.beta1 >= 0.0 && options_.beta1 < 1.0 && options_.beta2 >= 0.0 && options_.beta2 < 1.0,
          "adamw", "betas {} and {} must be in [0, 1)", options_.beta1, options_.beta2);
  require(options_.eps > 0.0 && options_.weight_decay >= 0.0, "adamw",
          "eps {} must be positive, weight decay {} not negative", options_.eps, options_.weight_decay);
  for (const Parameter& parameter : parameters) {
    require(parameter.value.defined() && parameter.value.value().defined(), "adamw",
            "parameter {} has no numbers; build the model for training", parameter.name);
    slots_.push_back({parameter, Tensor::zeros(parameter.shape), Tensor::zeros(parameter.shape)});
  }
}

void AdamW::step(double lr, double gradient_scale) {
  ++steps_;
  const double t = static_cast<double>(steps_);
  const StepScalars scalars{static_cast<float>(options_.beta1),
                            static_cast<float>(1.0 - options_.beta1),
                            static_cast<float>(options_.beta2),
                            static_cast<float>(1.0 - options_.beta2),
                            static_cast<float>(lr / (1.0 - std::pow(options_.beta1, t))),
                            static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(options_.beta2, t))),
                            static_cast<float>(options_.eps),
                            static_cast<float>(gradient_scale)};
  std::vector<std::int64_t> sizes;
  for (const Slot& slot : slots_) sizes.push_back(slot.parameter.value.grad().defined() ? slot.m.numel() : 0);
  const std::vector<Block> blocks = blocks_of(sizes);
  parallel_for(static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Block& block = blocks[static_cast<std::size_t>(b)];
      const Slot& slot = slots_[block.tensor];
      Tensor w = slot.parameter.value.value(), m = slot.m, v = slot.v;  // the same storage
      const float keep = slot.parameter.decays ? static_cast<float>(1.0 - lr * options_.weight_decay) : 1.0f;
      update(w.data() + block.begin, m.data() + block.begin, v.data() + block.begin,
             slot.parameter.value.grad().data() + block.begin, keep, scalars, block.end - block.begin);
    }
  });
}

std::vector<std::pair<std::string, Tensor>> AdamW::moments() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const Slot& slot : slots_) {
    out.emplace_back("m." + slot.parameter.name, slot.m);
    out.emplace_back("v." + slot.parameter.name, slot.v);
  }
  return out;
}

void AdamW::copy_into(Tensor& to, const Tensor& from) {
  if (!from.defined() || from.shape() != to.shape())
    fail("adamw", "moments of shape {} for a tensor of shape {}", from.shape().str(), to.shape().str());
  std::memcpy(to.data(), from.data(), static_cast<std::size_t>(to.bytes()));
}

}  // namespace locant
