#include "position/peg.h"

#include "ops/elementwise.h"
#include "ops/linear.h"

namespace locant {

Var peg(const Context& ctx, const Peg& peg, const Var& tokens, Grid grid, std::int64_t prefix,
        Activation act) {
  require(peg.stride >= 1 && !(peg.residual && peg.stride > 1), "peg",
          "a stride of {}, residual {}; a stride above 1 leaves no token to add to", peg.stride,
          peg.residual);
  if (peg.packed.defined()) return packed_on_grid("peg", peg.packed, tokens, grid, prefix, act);
  return on_grid(ctx, "peg", tokens, grid, prefix, [&](const Var& images) {
    const std::int64_t C = images.dim(1);
    check_kernel("peg", Peg::kWeight, peg.weight, C, 1, true);
    Var y = conv2d(ctx, images, peg.weight, peg.bias, square_conv(peg.stride, peg.weight.dim(2) / 2, C));
    if (peg.residual) y = add(ctx, images, y);
    return act == Activation::gelu ? gelu(ctx, y) : y;
  });
}

Var peg_in_attention(const Context& ctx, const Peg& p, const Var& attended, const Var& v, Grid grid,
                     std::int64_t prefix) {
  Var more = peg(ctx, p, v, grid, prefix);
  if (prefix > 0)
    more = concat_rows(ctx,
                       {Var(Tensor::zeros({1, prefix, v.dim(2)})), select_rows(ctx, more, prefix, v.dim(1))});
  return add(ctx, attended, more);
}

Var peg_feed_forward(const Context& ctx, const PegFeedForward& ff, const Var& tokens, Grid grid,
                     std::int64_t prefix) {
  const Var hidden = linear(ctx, tokens, ff.fc1_weight, ff.fc1_bias);
  return linear(ctx, gelu(ctx, peg(ctx, ff.peg, hidden, grid, prefix)), ff.fc2_weight, ff.fc2_bias);
}

}  // namespace locant
