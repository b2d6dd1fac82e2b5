#include "train/optimizer.h"

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "train/blocks.h"

namespace locant {

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

Optimizer::Optimizer(const char* op, std::string letters, const std::vector<Parameter>& parameters,
                     const std::vector<double>& rates)
    : op_(op), letters_(std::move(letters)) {
  require(rates.empty() || rates.size() == parameters.size(), op_, "{} rates for {} parameters", rates.size(),
          parameters.size());
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& parameter = parameters[i];
    require(parameter.value.defined() && parameter.value.value().defined(), op_,
            "parameter {} has no numbers; build the model for training", parameter.name);
    if (!parameter.learned || !parameter.value.requires_grad()) continue;
    Slot slot{parameter, rates.empty() ? 1.0 : rates[i], {}};
    for (std::size_t k = 0; k < letters_.size(); ++k) slot.moments.push_back(Tensor::zeros(parameter.shape));
    slots_.push_back(std::move(slot));
  }
}

void Optimizer::step(double lr, double gradient_scale) {
  ++steps_;
  std::vector<std::int64_t> sizes;
  for (const Slot& slot : slots_)
    sizes.push_back(slot.parameter.value.grad().defined() ? slot.parameter.shape.numel() : 0);
  const std::vector<Block> blocks = blocks_of(sizes);
  parallel_for(static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Block& block = blocks[static_cast<std::size_t>(b)];
      const Slot& slot = slots_[block.tensor];
      update(slot, block.begin, block.end, lr * slot.rate, static_cast<float>(gradient_scale));
    }
  });
}

std::vector<std::pair<std::string, Tensor>> Optimizer::moments() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (const Slot& slot : slots_)
    for (std::size_t k = 0; k < letters_.size(); ++k)
      out.emplace_back(fmt::format("{}.{}", letters_[k], slot.parameter.name), slot.moments[k]);
  return out;
}

void Optimizer::restore(std::int64_t steps, const std::function<Tensor(const std::string&)>& find) {
  for (auto& [name, to] : moments()) {
    const Tensor from = find(name);
    require(from.defined(), op_, "there is no {} to go on with", name);
    if (from.shape() != to.shape())
      fail(op_, "{} has the shape {} instead of {}", name, from.shape().str(), to.shape().str());
    std::memcpy(to.data(), from.data(), static_cast<std::size_t>(to.bytes()));
  }
  steps_ = steps;
}

}  // namespace locant
