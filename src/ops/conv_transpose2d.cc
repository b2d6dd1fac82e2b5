#include "ops/conv_transpose2d.h"

#include "core/error.h"
#include "core/profile.h"
#include "ops/arithmetic_broadcast.h"
#include "ops/conv2d.h"

namespace locant {
namespace {

constexpr const char* kConvTranspose2dOp = "conv_transpose2d";

// (inputs - 1) stride - 2 pad + kernel + output_pad
std::int64_t outputs_of(std::int64_t inputs, std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                        std::int64_t output_pad) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;  // products of two cannot overflow
  require(
      stride >= 1 && stride <= kMost && pad >= 0 && pad <= kMost && output_pad >= 0 && output_pad < stride,
      kConvTranspose2dOp,
      "stride {}, padding {}, output padding {}; the last must be smaller than the stride", stride, pad,
      output_pad);
  require(inputs >= 1 && inputs <= kMost && kernel >= 1, kConvTranspose2dOp,
          "{} pixels and a kernel of {}; both must be 1 or more", inputs, kernel);
  const std::int64_t outputs = (inputs - 1) * stride - 2 * pad + kernel + output_pad;
  require(outputs >= 1, kConvTranspose2dOp,
          "padding {} leaves nothing of {} pixels under a kernel of {}, stride {}", pad, inputs, kernel,
          stride);
  return outputs;
}

Shape result_shape(const Shape& x, const Shape& weight, const ConvTranspose2dOptions& o) {
  if (x.rank() != 4 || weight.rank() != 4)
    fail(kConvTranspose2dOp, "x of shape {} and weight {} must be (B, C, H, W) and (C, out / groups, kh, kw)",
         x.str(), weight.str());
  if (o.groups < 1 || x[1] % o.groups != 0 || weight[0] != x[1] || weight.numel() == 0)
    fail(kConvTranspose2dOp, "weight of shape {} does not fit {} channels in {} groups", weight.str(), x[1],
         o.groups);
  return {x[0], weight[1] * o.groups,
          outputs_of(x[2], weight[2], o.stride_rows, o.pad_rows, o.output_pad_rows),
          outputs_of(x[3], weight[3], o.stride_columns, o.pad_columns, o.output_pad_columns)};
}

}  // namespace

// With the same weight, conv2d takes y's shape to x's: forward and backward change places.
Var conv_transpose2d(const Context& ctx, const Var& x, const Var& weight, const Var& bias,
                     const ConvTranspose2dOptions& options) {
  const Shape shape = result_shape(x.shape(), weight.shape(), options);
  if (bias.defined() && bias.shape() != Shape{shape[1]})
    fail(kConvTranspose2dOp, "bias of shape {} for {} outputs", bias.shape().str(), shape[1]);
  ProfileScope scope(kConvTranspose2dOp);
  if (x.dim(1) > 0) scope.works(x.shape().numel() * (weight.shape().numel() / x.dim(1)));
  const Conv2dOptions conv{options.stride_rows, options.stride_columns, options.pad_rows, options.pad_columns,
                           options.groups};
  Tensor y(shape);
  if (y.numel() > 0)  // of its first argument that reads the shape alone
    conv2d_backward(y, weight.value(), x.value(), conv, &y, nullptr, nullptr);
  if (bias.defined()) {
    const Tensor column = bias.value().reshaped({shape[1], 1, 1});
    y = broadcast_sum(broadcast(kConvTranspose2dOp, shape, column.shape()), y, column);
  }
  return ctx.record({x, weight, bias}, std::move(y), [x, weight, bias, conv](const Tensor& dy) {
    const ProfileScope inner(kConvTranspose2dOp);
    if (x.requires_grad()) x.accumulate(conv2d_forward(dy, weight.value(), Tensor(), conv));
    if (weight.requires_grad()) {
      Tensor dweight = Tensor::zeros(weight.shape());
      if (dy.numel() > 0) conv2d_backward(dy, weight.value(), x.value(), conv, nullptr, &dweight, nullptr);
      weight.accumulate(std::move(dweight));
    }
    if (bias.requires_grad()) bias.accumulate(sum_to(dy, {1, bias.dim(0), 1, 1}).reshaped(bias.shape()));
  });
}

}  // namespace locant
