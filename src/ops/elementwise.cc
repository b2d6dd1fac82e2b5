#include "ops/elementwise.h"

#include "ops/elementwise_inl.h"

namespace locant {
namespace {

// Whether b's extents are the last ones of a, so that b repeats over the leading axes.
bool is_trailing(const Shape& a, const Shape& b) {
  if (b.rank() > a.rank()) return false;
  for (int axis = 1; axis <= b.rank(); ++axis)
    if (a[-axis] != b[-axis]) return false;
  return true;
}

// a (rows, width) + b (width), or equal shapes when rows is 1.
Tensor add_forward(const Tensor& a, const Tensor& b) {
  const std::int64_t width = b.numel(), rows = width > 0 ? a.numel() / width : 0;
  Tensor y(a.shape());
  const RowOps& ops = row_ops();
  if (rows == 1) {
    parallel_for(width, kElementGrain, [&](std::int64_t begin, std::int64_t end) {
      ops.add(a.data() + begin, b.data() + begin, 1.0f, end - begin, y.data() + begin);
    });
    return y;
  }
  parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      ops.add(a.data() + r * width, b.data(), 1.0f, width, y.data() + r * width);
  });
  return y;
}

}  // namespace

Var add(const Context& ctx, const Var& a, const Var& b) {
  // A leading axis of 1 broadcasts too: (1, N, C) tables.
  Shape shape = b.shape();
  while (shape.rank() > 0 && !is_trailing(a.shape(), shape) && shape[0] == 1)
    shape = Shape(shape.extents().subspan(1));
  if (!is_trailing(a.shape(), shape))
    fail("add", "{} and {} do not fit; the second must equal the first or be one row of its trailing axes",
         a.shape().str(), b.shape().str());
  const ProfileScope scope("add");
  return ctx.record({a, b}, add_forward(a.value(), b.value()), [a, b](const Tensor& dy) {
    if (b.requires_grad()) {
      const std::int64_t width = b.value().numel();
      if (width == dy.numel()) {
        b.accumulate(dy.reshaped(b.shape()));
      } else {
        const Tensor db =
            reduce_rows(dy.numel() / width, width, [&](std::int64_t begin, std::int64_t end, float* sums) {
              row_ops().sum_rows(dy.data() + begin * width, nullptr, end - begin, width, sums);
            });
        b.accumulate(db.reshaped(b.shape()));
      }
    }
    a.accumulate(dy);
  });
}

Tensor gelu_forward(const Tensor& x) {
  const ProfileScope scope("gelu");
  return by_kernel(x, row_ops().gelu);
}

Tensor gelu_backward(const Tensor& x, const Tensor& dy) {
  if (x.shape() != dy.shape())
    fail("gelu", "gradient of shape {} for x of shape {}", dy.shape().str(), x.shape().str());
  const ProfileScope scope("gelu");
  return gradient_by_kernel(x, dy, row_ops().gelu_gradient);
}

Var gelu(const Context& ctx, const Var& x) {
  return ctx.record({x}, gelu_forward(x.value()),
                    [x](const Tensor& dy) { x.accumulate(gelu_backward(x.value(), dy)); });
}

Var swiglu(const Context& ctx, const Var& x) {
  return gate_halves(ctx, "swiglu", x, row_ops().swiglu, row_ops().swiglu_gradient);
}

namespace {

// y = gamma x (+ residual when defined) over rows of gamma's width.
Tensor scale_rows(const Tensor& x, const Tensor& gamma, const Tensor& residual) {
  const std::int64_t width = gamma.numel(), rows = width > 0 ? x.numel() / width : 0;
  Tensor y(x.shape());
  parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    row_ops().scale_rows(x.data() + begin * width, gamma.data(),
                         residual.defined() ? residual.data() + begin * width : nullptr, end - begin, width,
                         y.data() + begin * width);
  });
  return y;
}

}  // namespace

Var layer_scale(const Context& ctx, const Var& x, const Var& gamma, const Var& residual) {
  if (x.shape().rank() < 1 || gamma.shape() != Shape{x.dim(-1)})
    fail("layer_scale", "gamma of shape {} for x of shape {}; it must hold one factor per channel",
         gamma.shape().str(), x.shape().str());
  if (residual.defined() && residual.shape() != x.shape())
    fail("layer_scale", "residual of shape {} for x of shape {}", residual.shape().str(), x.shape().str());
  const ProfileScope scope("layer_scale");
  Tensor y = scale_rows(x.value(), gamma.value(), residual.defined() ? residual.value() : Tensor());
  return ctx.record({x, gamma, residual}, std::move(y), [x, gamma, residual](const Tensor& dy) {
    const ProfileScope inner("layer_scale");
    const std::int64_t width = gamma.value().numel(), rows = dy.shape().with_last(1).numel();
    if (gamma.requires_grad())  // sum over rows of x dy
      gamma.accumulate(reduce_rows(rows, width, [&](std::int64_t begin, std::int64_t end, float* sums) {
        row_ops().sum_rows(dy.data() + begin * width, x.value().data() + begin * width, end - begin, width,
                           sums);
      }));
    if (x.requires_grad()) x.accumulate(scale_rows(dy, gamma.value(), Tensor()));
    residual.accumulate(dy);
  });
}

}  // namespace locant
