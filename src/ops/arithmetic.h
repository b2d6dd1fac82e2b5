#pragma once

#include "autograd/tape.h"

namespace locant {

/// a * b with NumPy's broadcasting: axes are aligned from the last, and extents of 1 (or absent) repeat. The
/// gradient of a repeated operand is summed over its repetitions.
Var multiply(const Context& ctx, const Var& a, const Var& b);
/// a + b with the same broadcasting on either side (ops/elementwise.h has the quick form for equal shapes).
Var add_broadcast(const Context& ctx, const Var& a, const Var& b);
/// factor * x + offset.
Var affine(const Context& ctx, const Var& x, float factor, float offset = 0.0f);
Var exp(const Context& ctx, const Var& x);
/// min(x, most); gradient 0 where it bites.
Var clamp_max(const Context& ctx, const Var& x, float most);
/// Sum over one axis, which is kept with extent 1.
Var sum_axis(const Context& ctx, const Var& x, int axis);
/// x / max(|x|, eps) over the last axis, |x| the Euclidean norm (torch.nn.functional.normalize).
Var l2_normalize(const Context& ctx, const Var& x, float eps = 1e-12f);

}  // namespace locant
