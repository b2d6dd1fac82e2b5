#include "nn/locality_ff.h"

#include "core/error.h"
#include "nn/conv_layers.h"

namespace locant {

LocalityFfLayer::LocalityFfLayer(const Weights& w, const Options& o) {
  require(
      o.in >= 1 && o.out >= 1 && o.expand_ratio >= 1 && o.stride >= 1 && o.kernel >= 1 && o.kernel % 2 == 1,
      "locality_ff",
      "{} channels to {}, {} times wider between, kernel {}, stride {}: all must be at least 1, "
      "the kernel odd",
      o.in, o.out, o.expand_ratio, o.kernel, o.stride);
  const std::int64_t wide = o.in * o.expand_ratio;
  const Weights conv = w / "conv";
  const Conv2d::Options plain = Conv2d::square(1, 1, 0, 1, false);
  const BatchNormOptions norm{.eps = o.bn_eps};
  ff_.expand = Conv2d::numbers(conv / 0, o.in, wide, plain);
  ff_.expand_norm = BatchNorm(conv / 1, wide, norm).numbers();
  ff_.depthwise = Conv2d::numbers(conv / 3, wide, wide, Conv2d::square(o.kernel, 1, 0, wide, false));
  ff_.depthwise_norm = BatchNorm(conv / 4, wide, norm).numbers();
  ff_.gate = o.gate;
  if (o.gate == FfGate::squeeze_excite) {
    require(o.reduction >= 1 && o.reduction <= wide, "locality_ff", "{} channels squeezed by {} leave none",
            wide, o.reduction);
    const std::int64_t narrow = wide / o.reduction;
    const Init init = Init::fan_in(wide), back = Init::fan_in(narrow);
    const Weights fc = conv / 6 / "fc";
    ff_.squeeze = {(fc / 0).get("weight", {narrow, wide}, init), (fc / 0).get("bias", {narrow}, init)};
    ff_.excite = {(fc / 2).get("weight", {wide, narrow}, back), (fc / 2).get("bias", {wide}, back)};
  } else if (o.gate != FfGate::none) {
    require(o.eca_kernel >= 1 && o.eca_kernel % 2 == 1, "locality_ff",
            "a kernel of {} over channels; it must be odd", o.eca_kernel);
    ff_.eca_kernel = (conv / 6 / "conv").get("weight", {1, 1, o.eca_kernel}, Init::fan_in(o.eca_kernel));
  }
  const std::int64_t last = o.gate == FfGate::none ? 6 : 7;
  ff_.project = Conv2d::numbers(conv / last, wide, o.out, plain);
  ff_.project_norm = BatchNorm(conv / (last + 1), o.out, norm).numbers();
  ff_.act = o.act;
  ff_.stride = o.stride;
  ff_.residual = o.residual;
}

Var LocalityFfLayer::operator()(const Context& ctx, const Var& images) const {
  return locality_ff(ctx, ff_, images);
}

}  // namespace locant
