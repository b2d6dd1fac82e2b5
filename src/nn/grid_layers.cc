#include "nn/grid_layers.h"

namespace locant {

GridConv grid_conv(const Weights& w, std::int64_t in, std::int64_t out, std::int64_t kernel,
                   std::int64_t groups, bool bias) {
  const std::int64_t from = in / groups;
  const Init init = Init::fan_in(from * kernel * kernel);
  GridConv conv;
  conv.weight = w.get("weight", {out, from, kernel, kernel}, init);
  if (bias) conv.bias = w.get("bias", {out}, init);
  return conv;
}

GridNorm grid_norm(const Weights& w, std::int64_t width, float eps) {
  GridNorm norm;
  norm.weight = w.get("weight", {width}, Init::ones());
  norm.bias = w.get("bias", {width}, Init::zeros());
  const Var mean = w.buffer("running_mean", {width}, Init::zeros());
  const Var var = w.buffer("running_var", {width}, Init::ones());
  norm.eps = eps;
  if (w.mode() == WeightMode::shapes) return norm;
  norm.mean = mean.value();
  norm.var = var.value();
  return norm;
}

}  // namespace locant
