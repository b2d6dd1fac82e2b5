#include "nn/conv_layers.h"

namespace locant {

Conv2d::Conv2d(const Weights& w, std::int64_t in, std::int64_t out, const Options& options)
    : conv_(options.conv) {
  const std::int64_t from = in / conv_.groups;
  const Init init = Init::fan_in(from * options.kernel_rows * options.kernel_columns);
  weight_ = w.get("weight", {out, from, options.kernel_rows, options.kernel_columns}, init);
  if (options.bias) bias_ = w.get("bias", {out}, init);
}

Conv2d::Options Conv2d::square(std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                               std::int64_t groups, bool bias) {
  return {kernel, kernel, {stride, stride, pad, pad, groups}, bias};
}

Var Conv2d::operator()(const Context& ctx, const Var& x) const {
  return conv2d(ctx, x, weight_, bias_, conv_);
}

Conv1d::Conv1d(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel,
               const Conv1dOptions& options, bool bias)
    : conv_(options) {
  const std::int64_t from = in / options.groups;
  const Init init = Init::fan_in(from * kernel);
  weight_ = w.get("weight", {out, from, kernel}, init);
  if (bias) bias_ = w.get("bias", {out}, init);
}

Var Conv1d::operator()(const Context& ctx, const Var& x) const {
  return conv1d(ctx, x, weight_, bias_, conv_);
}

BatchNorm::BatchNorm(const Weights& w, std::int64_t width, const BatchNormOptions& options,
                     const Init& weight_init)
    : weight_(w.get("weight", {width}, weight_init)),
      bias_(w.get("bias", {width}, Init::zeros())),
      options_(options) {
  const Var mean = w.buffer("running_mean", {width}, Init::zeros());
  const Var var = w.buffer("running_var", {width}, Init::ones());
  if (w.mode() == WeightMode::shapes) return;
  mean_ = mean.value();
  var_ = var.value();
}

Var BatchNorm::operator()(const Context& ctx, const Var& x) const {
  return batch_norm(ctx, x, weight_, bias_, mean_, var_, options_);
}

}  // namespace locant
