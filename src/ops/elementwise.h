#pragma once

#include "autograd/tape.h"

namespace locant {

/// a + b, equal shapes; b may also be one row of a's trailing axes (broadcast over the leading ones: position
/// tables).
Var add(const Context& ctx, const Var& a, const Var& b);
/// Exact GELU, 0.5 x (1 + erf(x / sqrt 2)).
Tensor gelu_forward(const Tensor& x);
Tensor gelu_backward(const Tensor& x, const Tensor& dy);
Var gelu(const Context& ctx, const Var& x);
/// SwiGLU on [a | b] (..., 2 H) -> silu(a) * b (..., H): the gate comes first.
Var swiglu(const Context& ctx, const Var& x);
/// gamma * x (+ residual when defined), gamma (C): LayerScale of CaiT and DINOv2.
Var layer_scale(const Context& ctx, const Var& x, const Var& gamma, const Var& residual);
/// Zeroes elements with probability p and divides the rest by 1 - p; identity unless ctx.train.
Var dropout(const Context& ctx, const Var& x, float p);
/// Zeroes whole samples (axis 0) with probability p and divides the rest by 1 - p; identity unless ctx.train.
Var drop_path(const Context& ctx, const Var& x, float p);

}  // namespace locant
