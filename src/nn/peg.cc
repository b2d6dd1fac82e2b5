#include "nn/peg.h"

#include <cmath>

#include "core/error.h"

namespace locant {

PegLayer::PegLayer(const Weights& w, const Options& options) {
  const std::int64_t C = options.width, k = options.kernel;
  require(C >= 1 && k >= 1 && k % 2 == 1, "peg", "a kernel of {} x {} for {} channels; it must be odd", k, k,
          C);
  require(options.stride >= 1 && !(options.residual && options.stride > 1), "peg",
          "a stride of {}, residual {}; a stride above 1 leaves no token to add to", options.stride,
          options.residual);
  // Twins: normal of variance 2 / fan_out, of k k outputs a channel.
  const Init init = Init::normal(std::sqrt(2.0f) / static_cast<float>(k));
  peg_ = {w.get(Peg::kWeight, {C, 1, k, k}, init, {.decay = false}), w.get(Peg::kBias, {C}, Init::zeros()),
          options.stride, options.residual};
}

Var PegLayer::operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix) const {
  return peg(ctx, peg_, x, grid, prefix);
}

}  // namespace locant
