#include "ops/conv1d.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/arithmetic_broadcast.h"
#include "ops/depthwise_conv2d.h"
#include "ops/matmul.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

constexpr const char* kConv1dOp = "conv1d";

struct Conv1dSizes {
  std::int64_t B, C, out, groups;
  ConvAxis axis;

  std::int64_t in_group() const { return C / groups; }
  std::int64_t out_group() const { return out / groups; }
  bool depthwise() const { return groups == C; }
  DepthwiseShape as_pictures() const { return {B, C, out_group(), ConvAxis(1, 1, 1, 1, 1, 0), axis}; }
};

Conv1dSizes sizes_of(const Shape& x, const Shape& weight, const Conv1dOptions& o) {
  constexpr std::int64_t kMost = std::int64_t{1} << 24;  // padding takes memory where taps are apart
  require(o.stride >= 1 && o.stride <= kMost && o.dilation >= 1 && o.groups >= 1 && o.pad_left >= 0 &&
              o.pad_right >= 0 && o.pad_left <= kMost && o.pad_right <= kMost,
          kConv1dOp, "stride {}, dilation {}, groups {} and padding {} and {} do not make a convolution",
          o.stride, o.dilation, o.groups, o.pad_left, o.pad_right);
  if (x.rank() != 3 || weight.rank() != 3)
    fail(kConv1dOp, "x of shape {} and weight {} must be (B, C, L) and (out, C / groups, k)", x.str(),
         weight.str());
  const std::int64_t C = x[1], out = weight[0], k = weight[2];
  if (C % o.groups != 0 || out % o.groups != 0 || weight[1] != C / o.groups || weight.numel() == 0)
    fail(kConv1dOp, "weight of shape {} does not fit {} channels in {} groups", weight.str(), C, o.groups);
  const std::int64_t padded = x[2] + o.pad_left + o.pad_right;
  // Division first: the product may overflow.
  if (padded < 1 || (k > 1 && o.dilation > (padded - 1) / (k - 1)))
    fail(kConv1dOp, "a kernel of {} with dilation {} is longer than an input of {} with padding", k,
         o.dilation, padded);
  const std::int64_t outputs = (padded - (k - 1) * o.dilation - 1) / o.stride + 1;
  return {x[0], C, out, o.groups, ConvAxis(x[2], outputs, k, o.stride, o.dilation, o.pad_left)};
}

// weight (out, C / groups, k) <-> taps (k, out, C / groups), whose matrices are dense.
Tensor taps_of(const Conv1dSizes& s, const Tensor& weight) {
  const std::int64_t k = s.axis.taps(), size = s.out * s.in_group();
  Tensor taps({k, s.out, s.in_group()});
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t t = 0; t < k; ++t) taps[t * size + i] = weight[i * k + t];
  return taps;
}

// The phases of an input: (B, phases, C, extent), see ConvAxis.
Shape phases_shape(const Conv1dSizes& s) { return {s.B, s.axis.phases(), s.C, s.axis.extent}; }

// Whether the input is its own single phase.
bool is_plain(const Conv1dSizes& s) { return s.axis.stride == 1 && s.axis.extent == s.axis.inputs; }

// body(place in the phases, place in the input, count) for each row of phases that lies in the input.
template <class Body>
void each_row(const Conv1dSizes& s, const Body& body) {
  const std::int64_t P = s.axis.phases(), E = s.axis.extent, L = s.axis.inputs;
  parallel_for(s.B * P * s.C, row_grain(E), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t p = row / s.C % P, first = s.axis.first(p);
      const std::int64_t channel = row / (P * s.C) * s.C + row % s.C;
      body(row * E + first, channel * L + first * s.axis.stride + s.axis.start[static_cast<std::size_t>(p)],
           s.axis.last(p) - first);
    }
  });
}

Tensor phases_of(const Conv1dSizes& s, const Tensor& x) {
  if (is_plain(s)) return x.reshaped(phases_shape(s));
  Tensor phases = Tensor::zeros(phases_shape(s));
  each_row(s, [&](std::int64_t to, std::int64_t from, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) phases[to + i] = x[from + i * s.axis.stride];
  });
  return phases;
}

// Places of group g's matrices of tap t.
struct Places {
  std::int64_t tap, input, output;
};

template <class Body>
void each_product(const Conv1dSizes& s, const Body& body) {
  for (std::int64_t t = 0; t < s.axis.taps(); ++t)
    for (std::int64_t g = 0; g < s.groups; ++g) {
      const auto at = static_cast<std::size_t>(t);
      body(t, Places{(t * s.out + g * s.out_group()) * s.in_group(),
                     (s.axis.phase[at] * s.C + g * s.in_group()) * s.axis.extent + s.axis.shift[at],
                     g * s.out_group() * s.axis.outputs});
    }
}

// y[b] = sum over taps of W_t X_t[b].
void dense_forward(const Conv1dSizes& s, const Tensor& x, const Tensor& weight, Tensor& y, bool has_bias) {
  const Tensor phases = phases_of(s, x), taps = taps_of(s, weight);
  const std::int64_t step = s.axis.phases() * s.C * s.axis.extent;
  each_product(s, [&](std::int64_t t, const Places& at) {
    matmul_batched({.M = s.out_group(),
                    .N = s.axis.outputs,
                    .K = s.in_group(),
                    .a = taps.data() + at.tap,
                    .lda = s.in_group(),
                    .b = phases.data() + at.input,
                    .ldb = s.axis.extent,
                    .beta = t > 0 || has_bias ? 1.0f : 0.0f,
                    .c = y.data() + at.output,
                    .ldc = s.axis.outputs},
                   s.B, 0, step, s.out * s.axis.outputs);
  });
}

// dX_t[b] += W_t^T dy[b].
Tensor dense_input_gradient(const Conv1dSizes& s, const Tensor& weight, const Tensor& dy) {
  const Tensor taps = taps_of(s, weight);
  Tensor phases = Tensor::zeros(phases_shape(s));
  const std::int64_t step = s.axis.phases() * s.C * s.axis.extent;
  each_product(s, [&](std::int64_t, const Places& at) {
    matmul_batched({.transpose_a = true,
                    .M = s.in_group(),
                    .N = s.axis.outputs,
                    .K = s.out_group(),
                    .a = taps.data() + at.tap,
                    .lda = s.in_group(),
                    .b = dy.data() + at.output,
                    .ldb = s.axis.outputs,
                    .beta = 1.0f,
                    .c = phases.data() + at.input,
                    .ldc = s.axis.extent},
                   s.B, 0, s.out * s.axis.outputs, step);
  });
  const Shape shape{s.B, s.C, s.axis.inputs};
  if (is_plain(s)) return phases.reshaped(shape);
  Tensor dx = Tensor::zeros(shape);
  each_row(s, [&](std::int64_t from, std::int64_t to, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) dx[to + i * s.axis.stride] = phases[from + i];
  });
  return dx;
}

// dW_t = sum over b of dy[b] X_t[b]^T.
Tensor dense_weight_gradient(const Conv1dSizes& s, const Tensor& x, const Tensor& dy) {
  const Tensor phases = phases_of(s, x);
  const std::int64_t k = s.axis.taps(), size = s.out * s.in_group();
  Tensor taps = Tensor::zeros({k, s.out, s.in_group()});
  each_product(s, [&](std::int64_t, const Places& at) {
    for (std::int64_t b = 0; b < s.B; ++b)
      matmul({.transpose_b = true,
              .M = s.out_group(),
              .N = s.in_group(),
              .K = s.axis.outputs,
              .a = dy.data() + at.output + b * s.out * s.axis.outputs,
              .lda = s.axis.outputs,
              .b = phases.data() + at.input + b * s.axis.phases() * s.C * s.axis.extent,
              .ldb = s.axis.extent,
              .beta = 1.0f,
              .c = taps.data() + at.tap,
              .ldc = s.in_group()});
  });
  Tensor dweight({s.out, s.in_group(), k});
  for (std::int64_t i = 0; i < size; ++i)
    for (std::int64_t t = 0; t < k; ++t) dweight[i * k + t] = taps[t * size + i];
  return dweight;
}

Tensor forward(const Conv1dSizes& s, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor y({s.B, s.out, s.axis.outputs});
  if (s.depthwise()) {
    depthwise_forward(s.as_pictures(), x.data(), weight.data(), bias.defined() ? bias.data() : nullptr,
                      y.data());
    return y;
  }
  for (std::int64_t row = 0; bias.defined() && row < s.B * s.out; ++row)
    std::fill_n(y.data() + row * s.axis.outputs, s.axis.outputs, bias[row % s.out]);
  dense_forward(s, x, weight, y, bias.defined());
  return y;
}

void backward(const Conv1dSizes& s, const Var& x, const Var& weight, const Var& bias, const Tensor& dy) {
  const ProfileScope scope(kConv1dOp);
  if (x.requires_grad()) {
    if (s.depthwise()) {
      Tensor dx(x.shape());
      depthwise_input_gradient(s.as_pictures(), weight.value().data(), dy.data(), dx.data());
      x.accumulate(std::move(dx));
    } else {
      x.accumulate(dense_input_gradient(s, weight.value(), dy));
    }
  }
  if (weight.requires_grad()) {
    if (s.depthwise()) {
      Tensor dweight(weight.shape());
      depthwise_weight_gradient(s.as_pictures(), x.value().data(), dy.data(), dweight.data());
      weight.accumulate(std::move(dweight));
    } else {
      weight.accumulate(dense_weight_gradient(s, x.value(), dy));
    }
  }
  if (bias.requires_grad()) bias.accumulate(sum_to(dy, {1, s.out, 1}).reshaped({s.out}));
}

}  // namespace

Conv1dOptions Conv1dOptions::same(std::int64_t kernel, std::int64_t groups) {
  require(kernel >= 1, kConv1dOp, "a kernel of {}; it must have a tap at least", kernel);
  return {.groups = groups, .pad_left = (kernel - 1) / 2, .pad_right = kernel / 2};
}

Conv1dOptions Conv1dOptions::causal(std::int64_t kernel, std::int64_t groups) {
  require(kernel >= 1, kConv1dOp, "a kernel of {}; it must have a tap at least", kernel);
  return {.groups = groups, .pad_left = kernel - 1};
}

Var conv1d(const Context& ctx, const Var& x, const Var& weight, const Var& bias,
           const Conv1dOptions& options) {
  const Conv1dSizes s = sizes_of(x.shape(), weight.shape(), options);
  if (bias.defined() && bias.shape() != Shape{s.out})
    fail(kConv1dOp, "bias of shape {} for {} outputs", bias.shape().str(), s.out);
  ProfileScope scope(kConv1dOp);
  Tensor y = forward(s, x.value(), weight.value(), bias.defined() ? bias.value() : Tensor());
  if (s.out > 0) scope.works(y.numel() * (weight.shape().numel() / s.out));
  return ctx.record({x, weight, bias}, std::move(y),
                    [s, x, weight, bias](const Tensor& dy) { backward(s, x, weight, bias, dy); });
}

}  // namespace locant
