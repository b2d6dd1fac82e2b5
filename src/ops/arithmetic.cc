#include "ops/arithmetic.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "ops/arithmetic_broadcast.h"
#include "ops/elementwise_inl.h"

namespace locant {
namespace {

// y[i] = f(i).
template <class F>
Tensor map(const Shape& shape, const F& f) {
  Tensor y(shape);
  float* to = y.data();
  parallel_for(y.numel(), kElementGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = f(i);
  });
  return y;
}

}  // namespace

Var multiply(const Context& ctx, const Var& a, const Var& b) {
  const ProfileScope scope("multiply");
  const Broadcast plan = broadcast("multiply", a.shape(), b.shape());
  return ctx.record({a, b}, broadcast_product(plan, a.value(), b.value()), [a, b](const Tensor& dy) {
    const ProfileScope inner("multiply");
    if (a.requires_grad()) a.accumulate(product_sums(dy, b.value(), a.shape()));
    if (b.requires_grad()) b.accumulate(product_sums(dy, a.value(), b.shape()));
  });
}

Var add_broadcast(const Context& ctx, const Var& a, const Var& b) {
  const ProfileScope scope("add_broadcast");
  const Broadcast plan = broadcast("add_broadcast", a.shape(), b.shape());
  return ctx.record({a, b}, broadcast_sum(plan, a.value(), b.value()), [a, b](const Tensor& dy) {
    const ProfileScope inner("add_broadcast");
    if (a.requires_grad()) a.accumulate(sum_to(dy, a.shape()));
    if (b.requires_grad()) b.accumulate(sum_to(dy, b.shape()));
  });
}

Var affine(const Context& ctx, const Var& x, float factor, float offset) {
  const ProfileScope scope("affine");
  const float* from = x.value().data();
  return ctx.record({x}, map(x.shape(), [=](std::int64_t i) { return factor * from[i] + offset; }),
                    [x, factor](const Tensor& dy) {
                      const float* g = dy.data();
                      x.accumulate(map(x.shape(), [=](std::int64_t i) { return factor * g[i]; }));
                    });
}

Var exp(const Context& ctx, const Var& x) {
  const ProfileScope scope("exp");
  const Tensor y = by_kernel(x.value(), row_ops().exp);
  return ctx.record({x}, y, [x, y](const Tensor& dy) {
    const float *e = y.data(), *g = dy.data();
    x.accumulate(map(x.shape(), [=](std::int64_t i) { return e[i] * g[i]; }));
  });
}

Var clamp_max(const Context& ctx, const Var& x, float most) {
  const ProfileScope scope("clamp_max");
  const float* from = x.value().data();
  return ctx.record({x}, map(x.shape(), [=](std::int64_t i) { return from[i] > most ? most : from[i]; }),
                    [x, most](const Tensor& dy) {
                      const float *z = x.value().data(), *g = dy.data();
                      x.accumulate(map(x.shape(), [=](std::int64_t i) { return z[i] > most ? 0.0f : g[i]; }));
                    });
}

Var sum_axis(const Context& ctx, const Var& x, int axis) {
  const Shape& shape = x.shape();
  const int at = axis < 0 ? axis + shape.rank() : axis;
  if (at < 0 || at >= shape.rank())
    fail("sum_axis", "axis {} does not exist in x of shape {}", axis, shape.str());
  const ProfileScope scope("sum_axis");
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents[static_cast<std::size_t>(at)] = 1;
  const Shape reduced{std::span<const std::int64_t>(extents)};
  return ctx.record({x}, sum_to(x.value(), reduced), [x](const Tensor& dy) {
    const ProfileScope inner("sum_axis");
    // Beside zeros that all repeat, dy broadcasts to x.
    const Broadcast plan = broadcast("sum_axis", dy.shape(), x.shape());
    x.accumulate(broadcast_copy(plan, dy));
  });
}

Var l2_normalize(const Context& ctx, const Var& x, float eps) {
  if (x.shape().rank() < 1) fail("l2_normalize", "x of shape {} has no last axis", x.shape().str());
  require(eps > 0, "l2_normalize", "eps {} must be above 0: a row of zeros would be divided by it", eps);
  const ProfileScope scope("l2_normalize");
  const std::int64_t width = x.dim(-1), rows = width == 0 ? 0 : x.value().numel() / width;
  Tensor y(x.shape()), norms({rows});
  const std::int64_t none = 0;
  parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* from = x.value().data() + r * width;
      float square = 0.0f;
      row_ops().correlate_gradient(from, &none, from, 1, width, &square);
      norms[r] = std::sqrt(square);
      const float factor = 1.0f / std::max(norms[r], eps);
      for (std::int64_t c = 0; c < width; ++c) y[r * width + c] = factor * from[c];
    }
  });
  // y = x / n: dx = (dy - y (y.dy)) / n; where eps is the divisor, a constant: dx = dy / eps.
  return ctx.record({x}, y, [=](const Tensor& dy) {
    const ProfileScope inner("l2_normalize");
    Tensor dx(x.shape());
    parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const float *g = dy.data() + r * width, *unit = y.data() + r * width;
        float along = 0.0f;
        if (norms[r] > eps) row_ops().correlate_gradient(unit, &none, g, 1, width, &along);
        const float factor = 1.0f / std::max(norms[r], eps);
        for (std::int64_t c = 0; c < width; ++c) dx[r * width + c] = factor * (g[c] - unit[c] * along);
      }
    });
    x.accumulate(std::move(dx));
  });
}

}  // namespace locant
