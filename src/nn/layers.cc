#include "nn/layers.h"

#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/norm.h"

namespace locant {

Linear::Linear(const Weights& w, std::int64_t in, std::int64_t out, const Options& options) {
  const Shape shape{out, in};
  if (w.mode() == WeightMode::train) {
    weight_ = w.get("weight", shape, options.weight_init);
    if (options.bias) bias_ = w.get("bias", {out}, options.bias_init);
    return;
  }
  const Tensor weight = w.take("weight", shape, options.weight_init);
  if (options.bias) bias_ = w.get("bias", {out}, options.bias_init);
  if (w.mode() == WeightMode::inference) packed_ = PackedLinear(weight, options.bias ? bias_.value() : Tensor());
  w.release("weight");
}

Var Linear::operator()(const Context& ctx, const Var& x, Activation act, const Var& residual) const {
  if (packed_.defined()) return Var(packed_.forward(x.value(), act, residual.defined() ? residual.value() : Tensor()));
  Var y = linear(ctx, x, weight_, bias_);
  if (act == Activation::gelu) y = gelu(ctx, y);
  return residual.defined() ? add(ctx, residual, y) : y;
}

LayerNorm::LayerNorm(const Weights& w, std::int64_t width, float eps)
    : weight_(w.get("weight", {width}, Init::ones())), bias_(w.get("bias", {width}, Init::zeros())), eps_(eps) {}

Var LayerNorm::operator()(const Context& ctx, const Var& x) const { return layer_norm(ctx, x, weight_, bias_, eps_); }

}  // namespace locant
