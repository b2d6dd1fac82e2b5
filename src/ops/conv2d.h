#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

struct Conv2dOptions {
  std::int64_t stride_rows = 1, stride_columns = 1;
  std::int64_t pad_rows = 0, pad_columns = 0;
  std::int64_t groups = 1;
};

/// x (B, C, H, W), weight (out, C / groups, kh, kw), bias (out) or undefined -> (B, out, H', W').
Tensor conv2d_forward(const Tensor& x, const Tensor& weight, const Tensor& bias,
                      const Conv2dOptions& options);
void conv2d_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, const Conv2dOptions& options,
                     Tensor* dx, Tensor* dweight, Tensor* dbias);
Var conv2d(const Context& ctx, const Var& x, const Var& weight, const Var& bias,
           const Conv2dOptions& options);

/// What a convolution multiplies by: weight (out, C / groups, kh, kw), and bias (out) or undefined.
struct Conv2dNumbers {
  Var weight = {}, bias = {};
  Var operator()(const Context& ctx, const Var& x, const Conv2dOptions& options) const {
    return conv2d(ctx, x, weight, bias, options);
  }
};

}  // namespace locant
