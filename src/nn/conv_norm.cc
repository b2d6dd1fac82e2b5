#include "nn/conv_norm.h"

namespace locant {

ConvNorm::ConvNorm(const Weights& conv, const Weights& bn, std::int64_t in, std::int64_t out,
                   const Options& o)
    : options_(square_conv(o.stride, o.pad, o.groups)) {
  if (conv.mode() != WeightMode::inference) {
    Conv2d::Options plain = Conv2d::square(o.kernel, o.stride, o.pad, o.groups, false);
    plain.weight_init = o.weight_init;
    conv_ = Conv2d(conv, in, out, plain);
    norm_ = BatchNorm(bn, out, {.eps = o.eps}, o.norm_init);
    return;
  }
  const std::int64_t from = channels_of_group(in, out, o.groups), taps = from * o.kernel * o.kernel;
  Tensor folded =
      conv.take("weight", {out, from, o.kernel, o.kernel}, o.weight_init.value_or(Init::fan_in(taps)))
          .clone();
  conv.release("weight");
  const BatchNorm norm(bn, out, {.eps = o.eps}, o.norm_init);
  const Var scale = norm.scale(Context{});
  for (std::int64_t c = 0; c < out; ++c)
    for (std::int64_t x = 0; x < taps; ++x) folded[c * taps + x] *= scale.value()[c];
  folded_ = PackedConv2d(folded, norm.shift(Context{}, scale).value());
}

Var ConvNorm::operator()(const Context& ctx, const Var& images) const {
  if (folded_.defined()) return Var(folded_.forward(images.value(), options_));
  return norm_(ctx, conv_(ctx, images));
}

}  // namespace locant
