#include "nn/grid_layers.h"

#include "nn/conv_layers.h"

namespace locant {

GridConv grid_conv(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel,
                   std::int64_t groups, bool bias) {
  const Conv2d conv(w, in, out, Conv2d::square(kernel, 1, 0, groups, bias));
  return {conv.weight(), conv.bias()};
}

GridNorm grid_norm(const Weights& w, std::int64_t width, float eps) {
  return BatchNorm(w, width, {.eps = eps}).numbers();
}

}  // namespace locant
