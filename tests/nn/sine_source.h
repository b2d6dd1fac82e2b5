#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "nn/weights.h"

namespace locant::testing {

/// Weights of the golden layers: element k of tensor number s, in the order given, is 0.5 sin(1.3 k + 0.1 s).
/// Every other tensor is an Error.
class SineSource final : public WeightSource {
 public:
  explicit SineSource(std::vector<std::string> order) : order_(std::move(order)) {}
  Tensor get(const std::string& name, const Shape& shape, const Init&) override {
    std::size_t s = 0;
    while (s < order_.size() && order_[s] != name) ++s;
    require(s < order_.size(), "sine_source", "nobody expected {} of shape {}", name, shape.str());
    Tensor out(shape);
    for (std::int64_t k = 0; k < out.numel(); ++k)
      out[k] =
          static_cast<float>(0.5 * std::sin(1.3 * static_cast<double>(k) + 0.1 * static_cast<double>(s)));
    return out;
  }

 private:
  std::vector<std::string> order_;
};

/// Their input: element k is cos(0.37 k).
inline Tensor cosine_input(const Shape& shape) {
  Tensor out(shape);
  for (std::int64_t k = 0; k < out.numel(); ++k)
    out[k] = static_cast<float>(std::cos(0.37 * static_cast<double>(k)));
  return out;
}

}  // namespace locant::testing
