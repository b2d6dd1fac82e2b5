#include "ops/channel_gate.h"

#include "core/error.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/conv1d.h"
#include "ops/layout.h"
#include "ops/linear.h"
#include "ops/pool2d.h"

namespace locant {
namespace {

// (B, C): means over the places.
Var squeezed(const Context& ctx, const char* op, const Var& x, const GateInput& input) {
  if (input.channels == ChannelAxis::last) {
    require(x.shape().rank() == 3 && input.prefix >= 0 && x.dim(1) > input.prefix, op,
            "x of shape {} is not (B, {} + N, C)", x.shape().str(), input.prefix);
    return mean_pool(ctx, x, input.prefix);
  }
  require(x.shape().rank() == 4, op, "x of shape {} is not (B, C, H, W)", x.shape().str());
  return reshape(ctx, adaptive_average_pool2d(ctx, x, 1, 1), {x.dim(0), x.dim(1)});
}

Var gated(const Context& ctx, const Var& x, const Var& scores, Gate gate, const GateInput& input) {
  const Var factor = gate == Gate::sigmoid ? sigmoid(ctx, scores) : hard_sigmoid(ctx, scores);
  const std::int64_t B = scores.dim(0), C = scores.dim(1);
  return multiply(
      ctx, x, reshape(ctx, factor, input.channels == ChannelAxis::last ? Shape{B, 1, C} : Shape{B, C, 1, 1}));
}

}  // namespace

Var squeeze_excite(const Context& ctx, const Var& x, const Var& reduce, const Var& reduce_bias,
                   const Var& expand, const Var& expand_bias, Gate gate, const GateInput& input) {
  const Var means = squeezed(ctx, "squeeze_excite", x, input);
  const std::int64_t C = means.dim(1), R = reduce.dim(0);
  if (reduce.value().numel() != R * C || expand.value().numel() != C * R || expand.dim(0) != C)
    fail("squeeze_excite", "weights {} and {} do not fit {} channels; they must be (R, C) and (C, R)",
         reduce.shape().str(), expand.shape().str(), C);
  const Var hidden = relu(ctx, linear(ctx, means, reshape(ctx, reduce, {R, C}), reduce_bias));
  return gated(ctx, x, linear(ctx, hidden, reshape(ctx, expand, {C, R}), expand_bias), gate, input);
}

Var efficient_channel_attention(const Context& ctx, const Var& x, const Var& kernel, Gate gate,
                                const GateInput& input) {
  const Var means = squeezed(ctx, "efficient_channel_attention", x, input);
  const Shape& shape = kernel.shape();
  require(shape.rank() == 3 && shape[0] == 1 && shape[1] == 1 && shape[2] % 2 == 1,
          "efficient_channel_attention", "a kernel of shape {}; (1, 1, k) with odd k was expected",
          shape.str());
  const std::int64_t B = means.dim(0), C = means.dim(1);
  const Var scores = conv1d(ctx, reshape(ctx, means, {B, 1, C}), kernel, {}, Conv1dOptions::same(shape[2]));
  return gated(ctx, x, reshape(ctx, scores, {B, C}), gate, input);
}

}  // namespace locant
