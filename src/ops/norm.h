#pragma once

#include "autograd/tape.h"

namespace locant {

/// (x - mean) / sqrt(var + eps) * weight + bias over the last axis, biased variance. mean and rstd (rows) are
/// filled when given.
Tensor layer_norm_forward(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps, Tensor* mean,
                          Tensor* rstd);
void layer_norm_backward(const Tensor& x, const Tensor& weight, const Tensor& mean, const Tensor& rstd,
                         const Tensor& dy, Tensor* dx, Tensor* dweight, Tensor* dbias);
Var layer_norm(const Context& ctx, const Var& x, const Var& weight, const Var& bias, float eps);

/// x / sqrt(mean(x^2) + eps) * weight over the last axis (root mean square; Zhang and Sennrich 2019).
Var rms_norm(const Context& ctx, const Var& x, const Var& weight, float eps);

}  // namespace locant
