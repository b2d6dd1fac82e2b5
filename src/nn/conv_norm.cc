#include "nn/conv_norm.h"

namespace locant {

ConvNorm::ConvNorm(const Weights& conv, const Weights& bn, std::int64_t in, std::int64_t out,
                   const Options& o)
    : options_(square_conv(o.stride, o.pad, o.groups)) {
  Conv2d::Options plain = Conv2d::square(o.kernel, o.stride, o.pad, o.groups, false);
  plain.weight_init = o.weight_init;
  if (conv.mode() != WeightMode::inference) {
    conv_ = Conv2d(conv, in, out, plain);
    norm_ = BatchNorm(bn, out, {.eps = o.eps}, o.norm_init);
    return;
  }
  PackedSource source = Conv2d::source(conv, in, out, plain);
  source.fold(BatchNorm(bn, out, {.eps = o.eps}, o.norm_init));
  folded_ = PackedConv2d(source.weight, source.bias);
  if (o.groups == in && in == out) depthwise_ = source.depthwise(options_);
}

Var ConvNorm::operator()(const Context& ctx, const Var& images, const std::string& shown) const {
  if (folded_.defined()) return Var(folded_.forward(images.value(), options_));
  const Var y = conv_(ctx, images);
  if (!shown.empty()) ctx.show([&] { return shown; }, y);
  return norm_(ctx, y);
}

Var ConvNorm::of_tokens(const Context& ctx, const char* op, const Var& tokens, Grid grid) const {
  if (depthwise_.defined()) return packed_on_grid(op, depthwise_, tokens, grid, 0);
  return on_grid(ctx, op, tokens, grid, 0, [&](const Var& images) { return (*this)(ctx, images); });
}

}  // namespace locant
