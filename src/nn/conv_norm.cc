#include "nn/conv_norm.h"

#include "core/error.h"

namespace locant {

ConvNorm::ConvNorm(const Weights& w, std::int64_t in, std::int64_t out, const Options& o)
    : options_(square_conv(o.stride, o.pad, o.groups)) {
  conv_ = Conv2d(w / "c", in, out, Conv2d::square(o.kernel, o.stride, o.pad, o.groups, false));
  norm_ = BatchNorm(w / "bn", out, {.eps = o.eps}, o.norm_init);
  if (w.mode() != WeightMode::inference) return;
  const Tensor scale = norm_.scale(Context{}).value();
  Tensor folded = conv_.weight().value().clone();
  const std::int64_t taps = folded.numel() / out;
  for (std::int64_t c = 0; c < out; ++c)
    for (std::int64_t x = 0; x < taps; ++x) folded[c * taps + x] *= scale[c];
  weight_ = Var(std::move(folded));
  bias_ = norm_.shift(Context{}, Var(scale));
  conv_ = {};
  norm_ = {};
}

Var ConvNorm::operator()(const Context& ctx, const Var& images) const {
  if (!norm_.defined()) return conv2d(ctx, images, weight_, bias_, options_);
  return norm_(ctx, conv_(ctx, images));
}

}  // namespace locant
