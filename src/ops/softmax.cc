#include "ops/softmax.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

std::int64_t rows_of(const Tensor& x) {
  require(x.shape().rank() >= 1, "softmax",
          "a scalar has no axis to normalise; give it a shape of rank 1 or more");
  return x.dim(-1) > 0 ? x.numel() / x.dim(-1) : 0;
}

}  // namespace

Tensor softmax_forward(const Tensor& x) {
  const std::int64_t rows = rows_of(x), width = x.dim(-1);
  const ProfileScope scope("softmax");
  Tensor y(x.shape());
  parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    row_ops().softmax(x.data() + begin * width, end - begin, width, y.data() + begin * width);
  });
  return y;
}

Tensor softmax_backward(const Tensor& y, const Tensor& dy) {
  if (y.shape() != dy.shape())
    fail("softmax", "gradient of shape {} for a result of shape {}", dy.shape().str(), y.shape().str());
  const std::int64_t rows = rows_of(y), width = y.dim(-1);
  const ProfileScope scope("softmax");
  Tensor dx(y.shape());
  parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    row_ops().softmax_gradient(y.data() + begin * width, dy.data() + begin * width, end - begin, width,
                               dx.data() + begin * width);
  });
  return dx;
}

Var softmax(const Context& ctx, const Var& x) {
  Tensor y = softmax_forward(x.value());
  return ctx.record({x}, y, [x, y](const Tensor& dy) { x.accumulate(softmax_backward(y, dy)); });
}

Var log_softmax(const Context& ctx, const Var& x) {
  const std::int64_t rows = rows_of(x.value()), width = x.dim(-1);
  const ProfileScope scope("log_softmax");
  Tensor y(x.shape());
  const float* from = x.value().data();
  float* to = y.data();
  parallel_for(rows, row_grain(width), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* row = from + r * width;
      float* out = to + r * width;
      const float most = *std::max_element(row, row + width);
      for (std::int64_t i = 0; i < width; ++i) out[i] = row[i] - most;
      // exp() in the buffer of the result, which is written again
      row_ops().exp(out, width, out);
      const double sum = sum_run(0, width, [=](std::int64_t i) { return out[i]; });
      const auto norm = static_cast<float>(std::log(sum));
      for (std::int64_t i = 0; i < width; ++i) out[i] = (row[i] - most) - norm;
    }
  });
  return ctx.record({x}, y, [=](const Tensor& dy) {  // dx = dy - e^y sum(dy)
    const ProfileScope inner("log_softmax");
    Tensor dx(x.shape());
    parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const float* g = dy.data() + r * width;
        float* out = dx.data() + r * width;
        row_ops().exp(y.data() + r * width, width, out);
        const auto sum = static_cast<float>(sum_run(0, width, [=](std::int64_t i) { return g[i]; }));
        for (std::int64_t i = 0; i < width; ++i) out[i] = g[i] - out[i] * sum;
      }
    });
    x.accumulate(std::move(dx));
  });
}

}  // namespace locant
