#include "nn/locality_ff.h"

#include "core/error.h"
#include "nn/conv_layers.h"
#include "ops/rearrange.h"

namespace locant {

LocalityFfLayer::LocalityFfLayer(const Weights& w, const Options& o) {
  const auto wide = static_cast<std::int64_t>(static_cast<double>(o.in) * o.expand_ratio);
  require(o.in >= 1 && o.out >= 1 && wide >= 1 && o.stride >= 1 && o.kernel >= 1 && o.kernel % 2 == 1,
          "locality_ff",
          "{} channels to {}, {} times wider between, kernel {}, stride {}: all must leave 1 at least, "
          "the kernel odd",
          o.in, o.out, o.expand_ratio, o.kernel, o.stride);
  const Weights conv = w / "conv";
  const Conv2d::Options plain = Conv2d::square(1, 1, 0, 1, false),
                        depthwise = Conv2d::square(o.kernel, o.stride, o.kernel / 2, wide, false);
  const std::int64_t last = o.gate == FfGate::none ? 6 : 7;
  const auto norm = [&](std::int64_t number, std::int64_t width) {
    return BatchNorm(conv / number, width, {.eps = o.bn_eps});
  };
  if (w.mode() == WeightMode::inference) {
    const auto folded = [&](std::int64_t number, std::int64_t in, std::int64_t out,
                            const Conv2d::Options& options) {
      PackedSource source = Conv2d::source(conv / number, in, out, options);
      source.fold(norm(number + 1, out));
      return source;
    };
    packed_.expand = folded(0, o.in, wide, plain).linear();
    packed_.depthwise = folded(3, wide, wide, depthwise).depthwise(depthwise.conv);
    make_gate(conv / 6, o, wide);
    packed_.project = folded(last, wide, o.out, plain).linear();
  } else {
    ff_.expand = Conv2d::numbers(conv / 0, o.in, wide, plain);
    ff_.expand_norm = norm(1, wide).numbers();
    ff_.depthwise = Conv2d::numbers(conv / 3, wide, wide, depthwise);
    ff_.depthwise_norm = norm(4, wide).numbers();
    make_gate(conv / 6, o, wide);
    ff_.project = Conv2d::numbers(conv / last, wide, o.out, plain);
    ff_.project_norm = norm(last + 1, o.out).numbers();
  }
  ff_.act = o.act;
  ff_.stride = o.stride;
  ff_.residual = o.residual;
}

void LocalityFfLayer::make_gate(const Weights& w, const Options& o, std::int64_t wide) {
  ff_.gate = o.gate;
  if (o.gate == FfGate::squeeze_excite) {
    require(o.reduction >= 1 && o.reduction <= wide, "locality_ff", "{} channels squeezed by {} leave none",
            wide, o.reduction);
    const std::int64_t narrow = wide / o.reduction;
    const Init init = Init::trunc_normal(0.02f);  // as of every Linear in LocalViT
    const Weights fc = w / "fc";
    ff_.squeeze = {(fc / 0).get("weight", {narrow, wide}, init),
                   (fc / 0).get("bias", {narrow}, Init::zeros())};
    ff_.excite = {(fc / 2).get("weight", {wide, narrow}, init), (fc / 2).get("bias", {wide}, Init::zeros())};
  } else if (o.gate != FfGate::none) {
    require(o.eca_kernel >= 1 && o.eca_kernel % 2 == 1, "locality_ff",
            "a kernel of {} over channels; it must be odd", o.eca_kernel);
    ff_.eca_kernel = (w / "conv").get("weight", {1, 1, o.eca_kernel}, Init::fan_in(o.eca_kernel));
  }
}

Var LocalityFfLayer::operator()(const Context& ctx, const Var& images) const {
  if (!packed_.depthwise.defined()) return locality_ff(ctx, ff_, images);
  const Shape& shape = images.shape();
  require(shape.rank() == 4, "locality_ff", "images of shape {}; (B, C, h, w) was expected", shape.str());
  const Var y = locality_ff(ctx, ff_, packed_, images_to_tokens(ctx, images), {1, shape[2], shape[3]}, 0);
  return tokens_to_images(ctx, y, (shape[2] - 1) / ff_.stride + 1, (shape[3] - 1) / ff_.stride + 1);
}

Var LocalityFfLayer::operator()(const Context& ctx, const Var& tokens, Grid grid, std::int64_t prefix) const {
  if (packed_.depthwise.defined()) return locality_ff(ctx, ff_, packed_, tokens, grid, prefix);
  return on_grid(ctx, "locality_ff", tokens, grid, prefix,
                 [&](const Var& images) { return locality_ff(ctx, ff_, images); });
}

}  // namespace locant
