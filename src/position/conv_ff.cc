#include "position/conv_ff.h"

#include <algorithm>

#include "ops/activation.h"
#include "ops/elementwise.h"

namespace locant {

namespace {

// Conv1: a product for each token of the picture.
Var pointwise(const Context& ctx, const char* op, const char* name, const Conv2dNumbers& conv, const Var& x) {
  check_kernel(op, name, conv.weight, conv.weight.dim(0), x.dim(1), true);
  require(conv.weight.dim(2) == 1, op, "{} of shape {} is no product of each token", name,
          conv.weight.shape().str());
  return conv(ctx, x, {});
}

Var depthwise(const Context& ctx, const char* op, const char* name, const Conv2dNumbers& conv, const Var& x,
              std::int64_t stride = 1) {
  check_kernel(op, name, conv.weight, x.dim(1), 1, true);
  return conv(ctx, x, square_conv(stride, conv.weight.dim(2) / 2, x.dim(1)));
}

Var normed(const Context& ctx, const BatchNormNumbers& norm, const Var& x) {
  return norm.defined() ? norm(ctx, x) : x;
}

Var gated(const Context& ctx, const LocalityFf& ff, const Var& x, const GateInput& input = {}) {
  switch (ff.gate) {
    case FfGate::none:
      return x;
    case FfGate::squeeze_excite:
      return squeeze_excite(ctx, x, ff.squeeze.weight, ff.squeeze.bias, ff.excite.weight, ff.excite.bias,
                            Gate::hard_sigmoid, input);
    case FfGate::eca:
      return efficient_channel_attention(ctx, x, ff.eca_kernel, Gate::sigmoid, input);
    case FfGate::eca_hard:
      return efficient_channel_attention(ctx, x, ff.eca_kernel, Gate::hard_sigmoid, input);
  }
  return x;
}

Var activated(const Context& ctx, const LocalityFf& ff, const Var& x) {
  return ff.act == FfActivation::relu6 ? relu6(ctx, x) : hard_swish(ctx, x);
}

// y with the first `prefix` tokens of x in place of its own. y is nobody else's.
Var with_prefix_of(const Var& x, Tensor y, std::int64_t prefix) {
  const std::int64_t C = y.dim(2);
  require(prefix == 0 || x.dim(2) == C, "locality_ff", "{} tokens of {} channels cannot stay before {}",
          prefix, x.dim(2), C);
  for (std::int64_t b = 0; b < y.dim(0); ++b)
    std::copy_n(x.value().data() + b * x.dim(1) * C, prefix * C, y.data() + b * y.dim(1) * C);
  return Var(std::move(y));
}

}  // namespace

Var locality_ff(const Context& ctx, const LocalityFf& ff, const Var& images) {
  constexpr const char* kOp = "locality_ff";
  require(images.shape().rank() == 4, kOp, "images of shape {}; (B, C, h, w) was expected",
          images.shape().str());
  const auto act = [&](const Var& x) { return activated(ctx, ff, x); };
  const Var wide = act(ff.expand_norm(ctx, pointwise(ctx, kOp, "conv.0.weight", ff.expand, images)));
  const Var mixed =
      act(ff.depthwise_norm(ctx, depthwise(ctx, kOp, "conv.3.weight", ff.depthwise, wide, ff.stride)));
  const Var out =
      ff.project_norm(ctx, pointwise(ctx, kOp, "the last convolution", ff.project, gated(ctx, ff, mixed)));
  if (!ff.residual) return out;
  if (out.shape() != images.shape())
    fail(kOp, "a result of shape {} cannot be added to images of {}", out.shape().str(),
         images.shape().str());
  return add(ctx, images, out);
}

// Products of the prefix, too, cost less than taking it apart.
Var locality_ff(const Context& ctx, const LocalityFf& ff, const PackedConvFf& packed, const Var& tokens,
                Grid grid, std::int64_t prefix) {
  check_tokens_of_grid("locality_ff", tokens, grid, prefix);
  const auto act = [&](const Tensor& x) { return activated(ctx, ff, Var(x)); };
  const Var wide = act(packed.expand.forward(tokens.value(), Activation::none, Tensor()));
  const Var mixed = act(packed.depthwise.forward(wide.value(), grid.rows, grid.columns, prefix));
  const Var gate = gated(ctx, ff, mixed, {ChannelAxis::last, prefix});
  Tensor out =
      packed.project.forward(gate.value(), Activation::none, ff.residual ? tokens.value() : Tensor());
  return with_prefix_of(tokens, std::move(out), prefix);
}

Var leff(const PackedConvFf& packed, const Var& tokens, Grid grid, std::int64_t prefix) {
  check_tokens_of_grid("leff", tokens, grid, prefix);
  const Tensor wide = packed.expand.forward(tokens.value(), Activation::gelu, Tensor());
  const Tensor mixed = packed.depthwise.forward(wide, grid.rows, grid.columns, prefix, Activation::gelu);
  return with_prefix_of(tokens, packed.project.forward(mixed, Activation::none, Tensor()), prefix);
}

Var leff(const Context& ctx, const Leff& ff, const Var& tokens, Grid grid, std::int64_t prefix) {
  constexpr const char* kOp = "leff";
  const std::string before = ff.path.empty() ? ff.path : ff.path + ".";
  const auto shown = [&](const char* name, const Var& x) {
    ctx.show([&] { return before + name; }, x);
    return x;
  };
  return on_grid(ctx, kOp, tokens, grid, prefix, [&](const Var& images) {
    const Var wide = shown("conv1", pointwise(ctx, kOp, "conv1.weight", ff.conv1, images));
    const Var mixed =
        shown("conv2", depthwise(ctx, kOp, "conv2.weight", ff.conv2, gelu(ctx, normed(ctx, ff.bn1, wide))));
    const Var out =
        shown("conv3", pointwise(ctx, kOp, "conv3.weight", ff.conv3, gelu(ctx, normed(ctx, ff.bn2, mixed))));
    return normed(ctx, ff.bn3, out);
  });
}

Var conv_ff(const Context& ctx, const ConvFf& ff, const Var& tokens, Grid grid, std::int64_t prefix) {
  constexpr const char* kOp = "conv_ff";
  return on_grid(ctx, kOp, tokens, grid, prefix, [&](const Var& images) {
    const Var wide = hard_swish(ctx, pointwise(ctx, kOp, "up.weight", ff.up, images));
    const Var mixed = depthwise(ctx, kOp, "depth.weight", ff.depth, wide);
    return pointwise(ctx, kOp, "down.weight", ff.down,
                     hard_swish(ctx, pointwise(ctx, kOp, "point.weight", ff.point, mixed)));
  });
}

}  // namespace locant
