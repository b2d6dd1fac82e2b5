#pragma once

#include <utility>

#include "autograd/tape.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {

/// y = kernel(x) for row kernels (x, n, y); the grain is for those that take an exponential.
template <class Kernel>
Tensor by_kernel(const Tensor& x, const Kernel& kernel) {
  Tensor y(x.shape());
  parallel_for(x.numel(), kElementGrain / 4, [&](std::int64_t begin, std::int64_t end) {
    kernel(x.data() + begin, end - begin, y.data() + begin);
  });
  return y;
}

/// dx = kernel(x, dy) for row kernels (x, dy, n, dx).
template <class Kernel>
Tensor gradient_by_kernel(const Tensor& x, const Tensor& dy, const Kernel& kernel) {
  Tensor dx(x.shape());
  parallel_for(x.numel(), kElementGrain / 4, [&](std::int64_t begin, std::int64_t end) {
    kernel(x.data() + begin, dy.data() + begin, end - begin, dx.data() + begin);
  });
  return dx;
}

/// Ops on the halves [a | b] (..., 2 C) -> (..., C), by RowOps::glu or ::swiglu and their gradients.
inline Var gate_halves(const Context& ctx, const char* op, const Var& x, decltype(RowOps::glu) kernel,
                       decltype(RowOps::glu_gradient) gradient) {
  if (x.shape().rank() < 1 || x.dim(-1) % 2 != 0)
    fail(op, "x of shape {} does not split into two halves; its last extent must be even", x.shape().str());
  const ProfileScope scope(op);
  const std::int64_t half = x.dim(-1) / 2, rows = half > 0 ? x.value().numel() / (2 * half) : 0;
  Tensor y(x.shape().with_last(half));
  parallel_for(rows, row_grain(4 * half), [&](std::int64_t begin, std::int64_t end) {
    kernel(x.value().data() + begin * 2 * half, end - begin, half, y.data() + begin * half);
  });
  return ctx.record({x}, std::move(y), [=](const Tensor& dy) {
    const ProfileScope inner(op);
    Tensor dx(x.shape());
    parallel_for(rows, row_grain(4 * half), [&](std::int64_t begin, std::int64_t end) {
      gradient(x.value().data() + begin * 2 * half, dy.data() + begin * half, end - begin, half,
               dx.data() + begin * 2 * half);
    });
    x.accumulate(std::move(dx));
  });
}

}  // namespace locant
