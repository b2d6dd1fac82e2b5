#pragma once

#include <cstdint>
#include <memory>

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

/// A weight (out, C / groups, kh, kw) and bias for inference, kept as oneDNN wants the weight for the
/// pictures that came last: reordered when others come, not at every call. Copies share it. Safe from several
/// threads.
class PackedConv2d {
 public:
  PackedConv2d() = default;
  /// Both may be borrowed; bias may be undefined. The weight is kept as it is until the first call.
  PackedConv2d(const Tensor& weight, const Tensor& bias);
  bool defined() const { return state_ != nullptr; }
  /// What conv2d_forward gives.
  Tensor forward(const Tensor& x, const Conv2dOptions& options) const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// What a convolution multiplies by: weight (out, C / groups, kh, kw), and bias (out) or undefined; for
/// inference both packed.
struct Conv2dNumbers {
  Var weight = {}, bias = {};
  PackedConv2d packed = {};
  Var operator()(const Context& ctx, const Var& x, const Conv2dOptions& options) const {
    if (packed.defined()) return Var(packed.forward(x.value(), options));
    return conv2d(ctx, x, weight, bias, options);
  }
};

}  // namespace locant
