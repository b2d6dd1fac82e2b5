#include "ops/norm.h"

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

std::int64_t check_norm(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (x.shape().rank() < 1 || x.dim(-1) < 1)
    fail("layer_norm", "x of shape {} has no last axis to normalise", x.shape().str());
  const Shape width{x.dim(-1)};
  if (weight.shape() != width || (bias.defined() && bias.shape() != width))
    fail("layer_norm", "weight {} and bias {} for x of shape {}; both must be {}", weight.shape().str(),
         bias.shape().str(), x.shape().str(), width.str());
  return x.numel() / x.dim(-1);
}

}  // namespace

Tensor layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor* mean,
                          Tensor* rstd) {
  const std::int64_t rows = check_norm(x, weight, bias), width = x.dim(-1);
  require(bias.defined(), "layer_norm", "the bias is missing");
  const ProfileScope scope("layer_norm");
  Tensor y(x.shape());
  if (mean != nullptr) *mean = Tensor({rows});
  if (rstd != nullptr) *rstd = Tensor({rows});
  parallel_for(rows, row_grain(width), [&](std::int64_t begin, std::int64_t end) {
    row_ops().layer_norm(x.data() + begin * width, end - begin, width, weight.data(), bias.data(), eps,
                         y.data() + begin * width, mean != nullptr ? mean->data() + begin : nullptr,
                         rstd != nullptr ? rstd->data() + begin : nullptr);
  });
  return y;
}

void layer_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                         const Tensor& dy, Tensor* dx, Tensor* dweight, Tensor* dbias) {
  const std::int64_t rows = check_norm(x, weight, Tensor()), width = x.dim(-1);
  if (dy.shape() != x.shape() || mean.numel() != rows || rstd.numel() != rows)
    fail("layer_norm", "gradient of shape {}, {} means and {} deviations for x of shape {}", dy.shape().str(),
         mean.numel(), rstd.numel(), x.shape().str());
  const ProfileScope scope("layer_norm");
  if (dx != nullptr) *dx = Tensor(x.shape());
  const Tensor sums = reduce_rows(rows, 2 * width, [&](std::int64_t begin, std::int64_t end, float* partial) {
    row_ops().layer_norm_gradient(
        x.data() + begin * width, weight.data(), mean.data() + begin, rstd.data() + begin,
        dy.data() + begin * width, end - begin, width, dx != nullptr ? dx->data() + begin * width : nullptr,
        dweight != nullptr ? partial : nullptr, dbias != nullptr ? partial + width : nullptr);
  });
  const Tensor both = sums.reshaped({2, width});
  if (dweight != nullptr) *dweight = both.slice(0, 1).reshaped({width}).clone();
  if (dbias != nullptr) *dbias = both.slice(1, 2).reshaped({width}).clone();
}

Var layer_norm(const Context& ctx, const Var& x, const Var& weight, const Var& bias, float eps) {
  Tensor mean, rstd;
  const bool recorded = ctx.tape != nullptr;
  Tensor y = layer_norm_forward(x.value(), weight.value(), bias.value(), eps, recorded ? &mean : nullptr,
                                recorded ? &rstd : nullptr);
  return ctx.record({x, weight, bias}, std::move(y), [x, weight, bias, mean, rstd](const Tensor& dy) {
    Tensor dx, dweight, dbias;
    layer_norm_backward(x.value(), weight.value(), mean, rstd, dy, x.requires_grad() ? &dx : nullptr,
                        weight.requires_grad() ? &dweight : nullptr, bias.requires_grad() ? &dbias : nullptr);
    if (dx.defined()) x.accumulate(std::move(dx));
    if (dweight.defined()) weight.accumulate(std::move(dweight));
    if (dbias.defined()) bias.accumulate(std::move(dbias));
  });
}

Var rms_norm(const Context& ctx, const Var& x, const Var& weight, float eps) {
  const std::int64_t width = x.shape().rank() < 1 ? 0 : x.dim(-1);
  if (width < 1 || weight.shape() != Shape{width})
    fail("rms_norm", "weight {} for x of shape {}; it must be as wide as the last axis, and that 1 at least",
         weight.shape().str(), x.shape().str());
  const std::int64_t rows = x.value().numel() / width;
  const ProfileScope scope("rms_norm");
  Tensor y(x.shape()), scales({rows});
  const float *from = x.value().data(), *w = weight.value().data();
  float *to = y.data(), *scale = scales.data();
  parallel_for(rows, row_grain(width), [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      const float* row = from + r * width;
      const double squares = sum_run(0, width, [=](std::int64_t i) { return row[i] * row[i]; });
      const double mean = squares / static_cast<double>(width);
      scale[r] = static_cast<float>(1.0 / std::sqrt(mean + static_cast<double>(eps)));
      for (std::int64_t i = 0; i < width; ++i) to[r * width + i] = row[i] * scale[r] * w[i];
    }
  });
  // With g = dy weight and s the row's scale: dx = s (g - x s^2 mean(g x)), dweight = sum over rows of dy x
  // s.
  return ctx.record({x, weight}, std::move(y), [=](const Tensor& dy) {
    const ProfileScope inner("rms_norm");
    Tensor dx(x.shape());
    Tensor dweight = reduce_rows(rows, width, [&](std::int64_t begin, std::int64_t end, float* sums) {
      for (std::int64_t r = begin; r < end; ++r) {
        const float *row = x.value().data() + r * width, *g = dy.data() + r * width;
        const float *gain = weight.value().data(), s = scales[r];
        const double dot = sum_run(0, width, [=](std::int64_t i) { return g[i] * gain[i] * row[i]; });
        const auto mean = static_cast<float>(dot / static_cast<double>(width)) * s * s;
        float* out = dx.data() + r * width;
        for (std::int64_t i = 0; i < width; ++i) out[i] = s * (g[i] * gain[i] - row[i] * mean);
        for (std::int64_t i = 0; i < width; ++i) sums[i] += g[i] * row[i] * s;
      }
    });
    x.accumulate(std::move(dx));
    weight.accumulate(std::move(dweight));
  });
}

}  // namespace locant
