#include "train/ema.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/parallel.h"
#include "train/blocks.h"

namespace locant {

Ema::Ema(const std::vector<Parameter>& parameters, double decay, bool warmup)
    : parameters_(parameters), decay_(decay), warmup_(warmup) {
  require(decay >= 0.0 && decay < 1.0, "ema", "decay {} is not in [0, 1)", decay);
  for (const Parameter& parameter : parameters_) averages_.push_back(parameter.value.value().clone());
}

double Ema::decay_at(std::int64_t update) const {
  const double n = static_cast<double>(update);
  return warmup_ ? std::min(decay_, (1.0 + n) / (10.0 + n)) : decay_;
}

void Ema::update() {
  const float rest = static_cast<float>(1.0 - decay_at(updates_++));
  std::vector<std::int64_t> sizes;
  for (const Tensor& average : averages_) sizes.push_back(average.numel());
  const std::vector<Block> blocks = blocks_of(sizes);
  parallel_for(static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Block& block = blocks[static_cast<std::size_t>(b)];
      float* a = averages_[block.tensor].data();
      const float* w = parameters_[block.tensor].value.value().data();
      for (std::int64_t i = block.begin; i < block.end; ++i) a[i] += rest * (w[i] - a[i]);
    }
  });
}

std::vector<std::pair<std::string, Tensor>> Ema::averages() const {
  std::vector<std::pair<std::string, Tensor>> out;
  for (std::size_t i = 0; i < parameters_.size(); ++i) out.emplace_back(parameters_[i].name, averages_[i]);
  return out;
}

void Ema::swap() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Tensor value = parameters_[i].value.value();
    parameters_[i].value.assign(averages_[i]);
    averages_[i] = std::move(value);
  }
}

void Ema::restore_one(std::size_t index, const Tensor& from) {
  Tensor& to = averages_[index];
  if (!from.defined() || from.shape() != to.shape())
    fail("ema", "an average of shape {} for {} of shape {}", from.shape().str(), parameters_[index].name,
         to.shape().str());
  std::memcpy(to.data(), from.data(), static_cast<std::size_t>(to.bytes()));
}

}  // namespace locant
