#include "nn/conv_layers.h"

#include <cmath>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"

namespace locant {

std::int64_t channels_of_group(std::int64_t in, std::int64_t out, std::int64_t groups) {
  require(in >= 1 && out >= 1 && groups >= 1 && in % groups == 0 && out % groups == 0, "conv_layers",
          "{} groups do not divide {} channels to {}", groups, in, out);
  return in / groups;
}

PackedSource::PackedSource(const Weights& w, const Shape& shape, const Init& weight_init,
                           const std::optional<Init>& bias_init)
    : weight(w.take("weight", shape, weight_init).clone()) {
  w.release("weight");
  if (bias_init) bias = w.get("bias", {shape[0]}, *bias_init).value().clone();
}

void PackedSource::fold(const BatchNorm& norm) {
  if (!norm.defined()) return;
  const Var scale = norm.scale({});
  const Tensor& s = scale.value();
  const std::int64_t out = weight.dim(0), rest = weight.numel() / out;
  Tensor shift = norm.shift({}, scale).value();
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t x = o * rest; x < (o + 1) * rest; ++x) weight[x] *= s[o];
    if (bias.defined()) shift[o] += s[o] * bias[o];
  }
  bias = std::move(shift);
}

PackedLinear PackedSource::linear() const {
  return {weight.reshaped({weight.dim(0), weight.numel() / weight.dim(0)}), bias};
}

PackedDepthwise PackedSource::depthwise(const Conv2dOptions& options) const {
  const std::int64_t taps = weight.dim(-1);
  return {weight.shape().rank() == 3 ? weight.reshaped({weight.dim(0), weight.dim(1), 1, taps}) : weight,
          bias, options};
}

namespace {

// Shape and start of a weight, and the start of its bias.
struct ConvStart {
  Shape shape;
  Init weight, bias;
};

ConvStart start_of(std::int64_t in, std::int64_t out, const Conv2d::Options& options) {
  const std::int64_t from = channels_of_group(in, out, options.conv.groups);
  const Init init = Init::fan_in(from * options.kernel_rows * options.kernel_columns);
  return {{out, from, options.kernel_rows, options.kernel_columns},
          options.weight_init.value_or(init),
          options.bias_init.value_or(init)};
}

}  // namespace

Init fan_out_init(std::int64_t fan_out) {
  return Init::normal(static_cast<float>(std::sqrt(2.0 / static_cast<double>(fan_out))));
}

Conv2dNumbers Conv2d::numbers(const Weights& w, std::int64_t in, std::int64_t out, const Options& options) {
  const ConvStart start = start_of(in, out, options);
  Conv2dNumbers made;
  made.weight = w.get("weight", start.shape, start.weight);
  if (options.bias) made.bias = w.get("bias", {out}, start.bias);
  return made;
}

Conv2d::Conv2d(const Weights& w, std::int64_t in, std::int64_t out, const Options& options)
    : conv_(options.conv) {
  if (w.mode() != WeightMode::inference) {
    numbers_ = numbers(w, in, out, options);
    return;
  }
  const ConvStart start = start_of(in, out, options);
  Tensor weight = w.take("weight", start.shape, start.weight);
  if (weight.is_borrowed()) weight = weight.clone();
  w.release("weight");
  if (options.bias) numbers_.bias = w.get("bias", {out}, start.bias);
  numbers_.packed = PackedConv2d(weight, options.bias ? numbers_.bias.value() : Tensor());
}

PackedSource Conv2d::source(const Weights& w, std::int64_t in, std::int64_t out, const Options& options) {
  const ConvStart start = start_of(in, out, options);
  return {w, start.shape, start.weight, options.bias ? std::optional<Init>(start.bias) : std::nullopt};
}

Conv2d::Options Conv2d::square(std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                               std::int64_t groups, bool bias) {
  return {kernel, kernel, square_conv(stride, pad, groups), bias};
}

Var Conv2d::operator()(const Context& ctx, const Var& x) const { return numbers_(ctx, x, conv_); }

Conv1d::Conv1d(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel,
               const Conv1dOptions& options, bool bias)
    : conv_(options) {
  const std::int64_t from = channels_of_group(in, out, options.groups);
  const Init init = Init::fan_in(from * kernel);
  weight_ = w.get("weight", {out, from, kernel}, init);
  if (bias) bias_ = w.get("bias", {out}, init);
}

Var Conv1d::operator()(const Context& ctx, const Var& x) const {
  return conv1d(ctx, x, weight_, bias_, conv_);
}

BatchNorm::BatchNorm(const Weights& w, std::int64_t width, const BatchNormOptions& options,
                     const Init& weight_init) {
  numbers_.weight = w.get("weight", {width}, weight_init);
  numbers_.bias = w.get("bias", {width}, Init::zeros());
  numbers_.options = options;
  numbers_.mean = w.buffer("running_mean", {width}, Init::zeros());
  numbers_.var = w.buffer("running_var", {width}, Init::ones());
}

Var BatchNorm::scale(const Context& ctx) const {
  const Tensor& var = numbers_.var.value();
  Tensor rstd(var.shape());
  for (std::int64_t c = 0; c < rstd.numel(); ++c) rstd[c] = 1.0f / std::sqrt(var[c] + numbers_.options.eps);
  return multiply(ctx, numbers_.weight, Var(std::move(rstd)));
}

Var BatchNorm::shift(const Context& ctx, const Var& scale) const {
  return add(ctx, affine(ctx, multiply(ctx, scale, numbers_.mean), -1.0f), numbers_.bias);
}

}  // namespace locant
