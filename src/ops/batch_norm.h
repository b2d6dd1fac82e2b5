#pragma once

#include "autograd/tape.h"

namespace locant {

/// Where the channels are: axis 1 of (B, C, ...), or the last axis.
enum class ChannelAxis { second, last };

struct BatchNormOptions {
  float eps = 1e-5f;
  float momentum = 0.1f;  ///< running = (1 - momentum) running + momentum batch
  ChannelAxis channels = ChannelAxis::second;
};

/// (x - mean) / sqrt(var + eps) * weight + bias per channel. ctx.train: mean and biased variance of the
/// batch, which also move running_mean and running_var (C) (the latter by the unbiased variance); gradient
/// through both. Else: the running ones, as constants. weight and bias (C) may be undefined. The running ones
/// are written in place, so that whoever shares their storage sees them move; borrowed ones are copied first.
Var batch_norm(const Context& ctx, const Var& x, const Var& weight, const Var& bias, Tensor& running_mean,
               Tensor& running_var, const BatchNormOptions& options = {});

/// What a batch norm holds: weight and bias (C), and the running mean and variance (C), whose storage
/// training writes: copies of this share it. One whose weight is frozen stands still altogether: it takes the
/// running numbers, and leaves them, while the rest trains.
struct BatchNormNumbers {
  Var weight = {}, bias = {}, mean = {}, var = {};
  BatchNormOptions options = {};
  bool defined() const { return weight.defined(); }
  Var operator()(const Context& ctx, const Var& x) const;
};

}  // namespace locant
