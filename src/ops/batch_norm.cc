#include "ops/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

constexpr const char* kBatchNormOp = "batch_norm";

// x as (outer, C, inner); inner is 1 where the channels are last.
struct Layout {
  std::int64_t outer = 1, C = 0, inner = 1;

  std::int64_t count() const { return outer * inner; }
};

Layout layout_of(const Shape& shape, ChannelAxis channels) {
  if (shape.rank() < 2) fail(kBatchNormOp, "x of shape {} has no batch and channels", shape.str());
  Layout out;
  const int axis = channels == ChannelAxis::last ? shape.rank() - 1 : 1;
  out.C = shape[axis];
  for (int a = 0; a < axis; ++a) out.outer *= shape[a];
  for (int a = axis + 1; a < shape.rank(); ++a) out.inner *= shape[a];
  return out;
}

// Sums over everything but the channels of f(place in x, channel). The order depends on the sizes alone.
template <class F>
Tensor channel_sums(const Layout& l, const F& f) {
  if (l.inner == 1)
    return reduce_rows(l.outer, l.C, [&](std::int64_t begin, std::int64_t end, float* sums) {
      for (std::int64_t r = begin; r < end; ++r)
        for (std::int64_t c = 0; c < l.C; ++c) sums[c] += f(r * l.C + c, c);
    });
  Tensor sums({l.C});
  parallel_for(l.C, row_grain(l.count()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t c = begin; c < end; ++c) {
      double sum = 0;
      for (std::int64_t o = 0; o < l.outer; ++o) {
        const std::int64_t first = (o * l.C + c) * l.inner;
        sum += sum_run(first, first + l.inner, [&](std::int64_t i) { return f(i, c); });
      }
      sums[c] = static_cast<float>(sum);
    }
  });
  return sums;
}

// y[place] = f(place, channel).
template <class F>
Tensor map_channels(const Layout& l, const Shape& shape, const F& f) {
  Tensor y(shape);
  float* to = y.data();
  if (l.inner == 1) {
    parallel_for(l.outer, row_grain(l.C), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        for (std::int64_t c = 0; c < l.C; ++c) to[r * l.C + c] = f(r * l.C + c, c);
    });
    return y;
  }
  parallel_for(l.outer * l.C, row_grain(l.inner), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t run = begin; run < end; ++run) {
      const std::int64_t c = run % l.C;
      for (std::int64_t i = run * l.inner; i < (run + 1) * l.inner; ++i) to[i] = f(i, c);
    }
  });
  return y;
}

struct Statistics {
  Tensor mean, rstd;  ///< rstd = 1 / sqrt(var + eps)
};

// Of the batch, in two passes; `moves` the running ones.
Statistics batch_statistics(const Layout& l, const Tensor& x, const BatchNormOptions& o, bool moves,
                            Tensor& running_mean, Tensor& running_var) {
  const auto count = static_cast<double>(l.count());
  const float share = static_cast<float>(1.0 / count);
  const float* from = x.data();
  // Sums of differences from one value of the channel, which keep their digits where the mean is large.
  const auto first = [&](std::int64_t c) { return from[c * l.inner]; };
  Tensor mean = channel_sums(l, [&](std::int64_t i, std::int64_t c) { return from[i] - first(c); });
  for (std::int64_t c = 0; c < l.C; ++c) mean[c] = first(c) + share * mean[c];
  const float* m = mean.data();
  const Tensor squares =
      channel_sums(l, [=](std::int64_t i, std::int64_t c) { return (from[i] - m[c]) * (from[i] - m[c]); });
  Tensor rstd({l.C});
  if (running_mean.is_borrowed()) running_mean = running_mean.clone();
  if (running_var.is_borrowed()) running_var = running_var.clone();
  for (std::int64_t c = 0; c < l.C; ++c) {
    const double square = static_cast<double>(squares[c]);
    rstd[c] = static_cast<float>(1.0 / std::sqrt(square / count + static_cast<double>(o.eps)));
    if (!moves) continue;
    running_mean[c] += o.momentum * (mean[c] - running_mean[c]);
    running_var[c] += o.momentum * (static_cast<float>(square / (count - 1)) - running_var[c]);
  }
  return {std::move(mean), std::move(rstd)};
}

Statistics running_statistics(const Tensor& running_mean, const Tensor& running_var, float eps) {
  Tensor rstd(running_var.shape());
  for (std::int64_t c = 0; c < rstd.numel(); ++c)
    rstd[c] =
        static_cast<float>(1.0 / std::sqrt(static_cast<double>(running_var[c]) + static_cast<double>(eps)));
  return {running_mean.clone(), std::move(rstd)};
}

Tensor gain_of(const Tensor& rstd, const Var& weight) {
  Tensor gain = rstd.clone();
  for (std::int64_t c = 0; weight.defined() && c < gain.numel(); ++c) gain[c] *= weight.value()[c];
  return gain;
}

// With h = (x - mean) rstd: dbias = sum dy, dweight = sum dy h, and dx = weight rstd dy, to which the batch's
// own statistics add - weight rstd (mean(dy) + h mean(dy h)).
void backward(const Layout& l, const Statistics& kept, bool train, const Var& x, const Var& weight,
              const Var& bias, const Tensor& dy) {
  const float *from = x.value().data(), *g = dy.data(), *mean = kept.mean.data(), *rstd = kept.rstd.data();
  Tensor dbias, dweight;
  const bool through_statistics = train && x.requires_grad();
  if (through_statistics || bias.requires_grad())
    dbias = channel_sums(l, [=](std::int64_t i, std::int64_t) { return g[i]; });
  if (through_statistics || weight.requires_grad())
    dweight = channel_sums(
        l, [=](std::int64_t i, std::int64_t c) { return g[i] * ((from[i] - mean[c]) * rstd[c]); });
  if (x.requires_grad()) {
    const Tensor gain = gain_of(kept.rstd, weight);
    const float* scale = gain.data();
    if (train) {
      Tensor shift = dbias.clone(), slope = dweight.clone();
      for (std::int64_t c = 0; c < l.C; ++c) {
        shift[c] /= static_cast<float>(l.count());
        slope[c] *= rstd[c] / static_cast<float>(l.count());
      }
      const float *a = shift.data(), *b = slope.data();
      x.accumulate(map_channels(l, x.shape(), [=](std::int64_t i, std::int64_t c) {
        return scale[c] * (g[i] - a[c] - (from[i] - mean[c]) * b[c]);
      }));
    } else {
      x.accumulate(
          map_channels(l, x.shape(), [=](std::int64_t i, std::int64_t c) { return scale[c] * g[i]; }));
    }
  }
  if (weight.requires_grad()) weight.accumulate(std::move(dweight));
  if (bias.requires_grad()) bias.accumulate(std::move(dbias));
}

}  // namespace

Var batch_norm(const Context& ctx, const Var& x, const Var& weight, const Var& bias, Tensor& running_mean,
               Tensor& running_var, const BatchNormOptions& options) {
  const Layout l = layout_of(x.shape(), options.channels);
  const auto check = [&](const char* what, const Shape& shape) {
    if (shape != Shape{l.C})
      fail(kBatchNormOp, "{} of shape {} for x of shape {}; it must hold {} numbers, one a channel", what,
           shape.str(), x.shape().str(), l.C);
  };
  check("running_mean", running_mean.shape());
  check("running_var", running_var.shape());
  if (weight.defined()) check("weight", weight.shape());
  if (bias.defined()) check("bias", bias.shape());
  if (ctx.train && l.count() < 2)
    fail(kBatchNormOp, "x of shape {} has {} values a channel; a variance to train on takes two",
         x.shape().str(), l.count());
  const ProfileScope scope(kBatchNormOp);
  const bool train = ctx.train;
  const Statistics kept = train
                              ? batch_statistics(l, x.value(), options, !ctx.again, running_mean, running_var)
                              : running_statistics(running_mean, running_var, options.eps);
  const Tensor gain = gain_of(kept.rstd, weight),
               offset = bias.defined() ? bias.value() : Tensor::zeros({l.C});
  const float *from = x.value().data(), *mean = kept.mean.data(), *scale = gain.data(), *add = offset.data();
  Tensor y = map_channels(
      l, x.shape(), [=](std::int64_t i, std::int64_t c) { return (from[i] - mean[c]) * scale[c] + add[c]; });
  return ctx.record({x, weight, bias}, std::move(y), [l, kept, train, x, weight, bias](const Tensor& dy) {
    const ProfileScope inner(kBatchNormOp);
    backward(l, kept, train, x, weight, bias, dy);
  });
}

Var BatchNormNumbers::operator()(const Context& ctx, const Var& x) const {
  Tensor running_mean = mean.value(), running_var = var.value();  // the same storage: written in place
  Context as = ctx;
  as.train = ctx.train && weight.requires_grad();
  return batch_norm(as, x, weight, bias, running_mean, running_var, options);
}

}  // namespace locant
