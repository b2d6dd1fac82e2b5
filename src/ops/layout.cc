#include "ops/layout.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/rearrange.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

// Rows of (B, N, C) in one go.
struct Rows {
  std::int64_t B, N, C;
};

Rows rows_of(const char* op, const Shape& shape) {
  if (shape.rank() != 3) fail(op, "x of shape {} is not (B, N, C)", shape.str());
  return {shape[0], shape[1], shape[2]};
}

}  // namespace

Var mean_pool(const Context& ctx, const Var& x, std::int64_t skip) {
  const Rows n = rows_of("mean_pool", x.shape());
  require(skip >= 0 && skip < n.N, "mean_pool", "skipping {} of {} rows leaves nothing to average", skip,
          n.N);
  const ProfileScope scope("mean_pool");
  const float share = 1.0f / static_cast<float>(n.N - skip);
  Tensor y = Tensor::zeros({n.B, n.C});
  parallel_for(n.B, row_grain(n.N * n.C), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      float* out = y.data() + b * n.C;
      row_ops().sum_rows(x.value().data() + (b * n.N + skip) * n.C, nullptr, n.N - skip, n.C, out);
      for (std::int64_t c = 0; c < n.C; ++c) out[c] *= share;
    }
  });
  return ctx.record({x}, std::move(y), [x, n, skip, share](const Tensor& dy) {
    Tensor dx(x.shape());
    parallel_for(n.B * n.N, row_grain(n.C), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const float factor = r % n.N < skip ? 0.0f : share;
        const float* from = dy.data() + r / n.N * n.C;
        for (std::int64_t c = 0; c < n.C; ++c) dx[r * n.C + c] = factor * from[c];
      }
    });
    x.accumulate(std::move(dx));
  });
}

Var select_rows(const Context& ctx, const Var& x, std::int64_t begin, std::int64_t end) {
  rows_of("select_rows", x.shape());
  return slice_axis(ctx, x, 1, begin, end);
}

namespace {

// Gradient of part p, whose rows begin at `start` numbers within each sample of dy (B, N, C).
void concat_backward(const Var& part, const Tensor& dy, std::int64_t start) {
  const std::int64_t B = dy.dim(0), step = dy.dim(1) * dy.dim(2), count = part.dim(1) * part.dim(2);
  Tensor dpart = Tensor::zeros(part.shape());
  if (part.dim(0) == B) {
    copy_blocks(B, count, dy.data() + start, step, dpart.data(), count);
  } else {  // repeated over the batch
    for (std::int64_t b = 0; b < B; ++b)
      row_ops().add(dpart.data(), dy.data() + b * step + start, 1.0f, count, dpart.data());
  }
  part.accumulate(std::move(dpart));
}

}  // namespace

Var concat_rows(const Context& ctx, const std::vector<Var>& parts) {
  require(!parts.empty(), "concat_rows", "there is nothing to concatenate");
  std::int64_t B = 1, N = 0;
  const std::int64_t C = rows_of("concat_rows", parts[0].shape()).C;
  for (const Var& part : parts) {
    const Rows n = rows_of("concat_rows", part.shape());
    if (n.B != 1) B = n.B;
    N += n.N;
  }
  for (const Var& part : parts)
    if (part.dim(2) != C || (part.dim(0) != B && part.dim(0) != 1))
      fail("concat_rows", "a part of shape {} does not fit a batch of {} and {} channels", part.shape().str(),
           B, C);
  const ProfileScope scope("layout");
  Tensor y({B, N, C});
  std::int64_t start = 0;
  for (const Var& part : parts) {
    const std::int64_t count = part.dim(1) * C;
    copy_blocks(B, count, part.value().data(), part.dim(0) == B ? count : 0, y.data() + start, N * C);
    start += count;
  }
  return ctx.record(parts, std::move(y), [parts](const Tensor& dy) {
    std::int64_t at = 0;
    for (const Var& part : parts) {
      if (part.requires_grad()) concat_backward(part, dy, at);
      at += part.dim(1) * part.dim(2);
    }
  });
}

Var reshape(const Context& ctx, const Var& x, const Shape& shape) {
  return ctx.record({x}, x.value().reshaped(shape),
                    [x](const Tensor& dy) { x.accumulate(dy.reshaped(x.shape())); });
}

Var average(const Context& ctx, const Var& a, const Var& b) {
  if (a.shape() != b.shape()) fail("average", "{} and {} differ in shape", a.shape().str(), b.shape().str());
  const ProfileScope scope("average");
  Tensor y(a.shape());
  const float *from_a = a.value().data(), *from_b = b.value().data();
  parallel_for(y.numel(), kElementGrain, [&](std::int64_t begin, std::int64_t end) {
    row_ops().add(from_a + begin, from_b + begin, 0.5f, end - begin, y.data() + begin);
  });
  return ctx.record({a, b}, std::move(y), [a, b](const Tensor& dy) {
    Tensor half(dy.shape());
    parallel_for(dy.numel(), kElementGrain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) half[i] = 0.5f * dy[i];
    });
    a.accumulate(half);
    b.accumulate(half);
  });
}

}  // namespace locant
