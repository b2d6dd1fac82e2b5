#pragma once

#include <memory>

#include "autograd/tape.h"

namespace locant {

enum class Activation { none, gelu };

/// y = x W^T + b on x (..., in), weight (out, in), bias (out) or undefined -> (..., out).
Tensor linear_forward(const Tensor& x, const Tensor& weight, const Tensor& bias);
/// dx = dy W, dW = dy^T x, db = sum of dy. Null pointers are not computed; others are overwritten.
void linear_backward(const Tensor& x, const Tensor& weight, const Tensor& dy, Tensor* dx, Tensor* dweight,
                     Tensor* dbias);
/// Recorded. x may be constant (no dx is computed then).
Var linear(const Context& ctx, const Var& x, const Var& weight, const Var& bias);

/// A weight reordered once for oneDNN; holds the only copy that inference needs.
class PackedLinear {
 public:
  PackedLinear() = default;
  /// weight (out, in) and bias (out) or undefined; both may be borrowed and are not kept.
  PackedLinear(const Tensor& weight, const Tensor& bias);
  bool defined() const { return state_ != nullptr; }
  std::int64_t in() const;
  std::int64_t out() const;
  std::int64_t bytes() const;

  /// residual + act(x W^T + b), bias, exact GELU and residual fused as post-ops.
  /// residual (..., out) may be undefined.
  Tensor forward(const Tensor& x, Activation act, const Tensor& residual) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace locant
