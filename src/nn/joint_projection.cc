#include "nn/joint_projection.h"

#include "core/error.h"
#include "ops/rearrange.h"

namespace locant {

JointProjection::JointProjection(const Weights& w, std::int64_t width, Of of) : width_(width) {
  const std::int64_t C = width;
  const Init start = Init::xavier_uniform(C, 3 * C);
  const Shape shape{3 * C, C};
  if (w.mode() == WeightMode::train) {
    weight_ = w.get("in_proj_weight", shape, start);
    bias_ = w.get("in_proj_bias", {3 * C}, Init::zeros());
    return;
  }
  const Tensor weight = w.take("in_proj_weight", shape, start);
  bias_ = w.get("in_proj_bias", {3 * C}, Init::zeros());
  if (w.mode() == WeightMode::inference) {
    if (of == Of::one) packed_[0] = PackedLinear(weight, bias_.value());
    if (of == Of::three)
      for (std::int64_t t = 0; t < 3; ++t)
        packed_[static_cast<std::size_t>(t)] =
            PackedLinear(weight.slice(t * C, (t + 1) * C), bias_.value().slice(t * C, (t + 1) * C));
  }
  w.release("in_proj_weight");
}

Var JointProjection::operator()(const Context& ctx, const Var& x) const {
  if (packed_[0].defined()) return Var(packed_[0].forward(x.value(), Activation::none, Tensor()));
  return linear(ctx, x, weight_, bias_);
}

Var JointProjection::part(const Context& ctx, const Var& x, std::int64_t t) const {
  const PackedLinear& packed = packed_[static_cast<std::size_t>(t)];
  if (packed.defined()) return Var(packed.forward(x.value(), Activation::none, Tensor()));
  return linear(ctx, x, slice_axis(ctx, weight_, 0, t * width_, (t + 1) * width_),
                slice_axis(ctx, bias_, 0, t * width_, (t + 1) * width_));
}

}  // namespace locant
