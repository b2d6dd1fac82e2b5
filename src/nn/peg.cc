#include "nn/peg.h"

#include <cmath>

#include "core/error.h"
#include "nn/conv_layers.h"

namespace locant {

Peg make_peg(const Weights& w, const PegOptions& o, const Init& weight, const Init& bias,
             const ParameterOptions& weight_options) {
  const std::int64_t C = o.width, k = o.kernel;
  const Shape shape{C, 1, k, k};
  Peg out{{}, {}, o.stride, o.residual};
  if (w.mode() != WeightMode::inference) {
    out.weight = w.get("weight", shape, weight, weight_options);
    out.bias = w.get("bias", {C}, bias);
    return out;
  }
  PackedSource source(w, shape, weight, bias);
  for (std::int64_t c = 0; o.residual && c < C; ++c) source.weight[c * k * k + k * k / 2] += 1.0f;
  out.packed = source.depthwise(square_conv(o.stride, k / 2, C));
  return out;
}

PegLayer::PegLayer(const Weights& w, const Options& options) {
  const std::int64_t C = options.width, k = options.kernel;
  require(C >= 1 && k >= 1 && k % 2 == 1, "peg", "a kernel of {} x {} for {} channels; it must be odd", k, k,
          C);
  require(options.stride >= 1 && !(options.residual && options.stride > 1), "peg",
          "a stride of {}, residual {}; a stride above 1 leaves no token to add to", options.stride,
          options.residual);
  // Twins: normal of variance 2 / fan_out, of k k outputs a channel.
  const Init init = Init::normal(std::sqrt(2.0f) / static_cast<float>(k));
  peg_ = make_peg(w / "proj" / 0, options, init, Init::zeros(), {.decay = false});
}

Var PegLayer::operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix) const {
  return peg(ctx, peg_, x, grid, prefix);
}

}  // namespace locant
