#pragma once

#include <string>
#include <vector>

#include "core/error.h"
#include "nn/weights.h"
#include "tests/support/golden_numbers.h"

namespace locant::testing {

/// Weights of the golden layers: the tensors in the order given are golden_parameter 0, 1, ... Every other
/// one is an Error.
class SineSource final : public WeightSource {
 public:
  explicit SineSource(std::vector<std::string> order) : order_(std::move(order)) {}
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    std::size_t s = 0;
    while (s < order_.size() && order_[s] != name) ++s;
    require(s < order_.size(), "sine_source", "nobody expected {} of shape {}", name, shape.str());
    return golden_parameter(shape, static_cast<int>(s));
  }

 private:
  std::vector<std::string> order_;
};

}  // namespace locant::testing
