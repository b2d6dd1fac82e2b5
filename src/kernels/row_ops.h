#pragma once

#include <cstdint>

#include "simd/isa.h"

namespace locant {

/// Kernels over contiguous rows in one instruction set. Each runs in the calling thread; src/ops splits the
/// rows. Buffers may not overlap unless said. `n`, `rows` and `width` may be zero.
struct RowOps {
  /// y = (x - mean) rstd weight + bias a row, rstd = 1 / sqrt(var + eps), var biased, in two passes over the
  /// row. mean and rstd (rows) may be null.
  void (*layer_norm)(const float* x, std::int64_t rows, std::int64_t width, const float* weight,
                     const float* bias, float eps, float* y, float* mean, float* rstd);
  /// With g = dy weight and h = (x - mean) rstd: dx = rstd (g - mean(g) - h mean(g h)); dweight += sum over
  /// rows of dy h; dbias += sum of dy. dx, dweight and dbias may be null.
  void (*layer_norm_gradient)(const float* x, const float* weight, const float* mean, const float* rstd,
                              const float* dy, std::int64_t rows, std::int64_t width, float* dx,
                              float* dweight, float* dbias);
  /// y = x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2. May work in place.
  void (*gelu)(const float* x, std::int64_t n, float* y);
  /// dx = dy (Phi(x) + x phi(x)). May work in place on dy.
  void (*gelu_gradient)(const float* x, const float* dy, std::int64_t n, float* dx);
  /// exp(x - max) / sum a row; a row of -inf alone gives zeros. May work in place.
  void (*softmax)(const float* x, std::int64_t rows, std::int64_t width, float* y);
  /// dx = y (dy - sum(dy y)) a row. May work in place on dy.
  void (*softmax_gradient)(const float* y, const float* dy, std::int64_t rows, std::int64_t width, float* dx);
  /// x rows [a | b] of 2 half -> y = silu(a) b of half, silu(a) = a / (1 + exp(-a)).
  void (*swiglu)(const float* x, std::int64_t rows, std::int64_t half, float* y);
  void (*swiglu_gradient)(const float* x, const float* dy, std::int64_t rows, std::int64_t half, float* dx);
  /// y = gamma x (+ residual unless null) a row, gamma (width). May work in place.
  void (*scale_rows)(const float* x, const float* gamma, const float* residual, std::int64_t rows,
                     std::int64_t width, float* y);
  /// y = scale (a + b). May work in place.
  void (*add)(const float* a, const float* b, float scale, std::int64_t n, float* y);
  /// out (width) += the sum of the rows of x, each times the row of `by` unless null.
  void (*sum_rows)(const float* x, const float* by, std::int64_t rows, std::int64_t width, float* out);
  /// y = e^x; above 88 infinity, results below the smallest normal number are zero. May work in place, as may
  /// sigmoid, tanh, elu and silu.
  void (*exp)(const float* x, std::int64_t n, float* y);
  /// y = 1 / (1 + e^-x).
  void (*sigmoid)(const float* x, std::int64_t n, float* y);
  /// dx = dy factor^2 s (1 - s), s = sigmoid(factor x): sigmoid's gradient for factor 1, tanh's for 2. May
  /// work in place on dy.
  void (*sigmoid_gradient)(const float* x, float factor, const float* dy, std::int64_t n, float* dx);
  void (*tanh)(const float* x, std::int64_t n, float* y);
  /// y = x for x > 0, else e^x - 1.
  void (*elu)(const float* x, std::int64_t n, float* y);
  /// y = x sigmoid(factor x): factor 1 is SiLU, 1.702 QuickGELU.
  void (*silu)(const float* x, float factor, std::int64_t n, float* y);
  /// dx = dy s (1 + factor x (1 - s)), s = sigmoid(factor x). May work in place on dy.
  void (*silu_gradient)(const float* x, float factor, const float* dy, std::int64_t n, float* dx);
  /// x rows [a | b] of 2 half -> y = a sigmoid(b) of half.
  void (*glu)(const float* x, std::int64_t rows, std::int64_t half, float* y);
  void (*glu_gradient)(const float* x, const float* dy, std::int64_t rows, std::int64_t half, float* dx);
  /// y[i] += sum over t of weights[t] x[i + offsets[t]]: convolutions of one channel.
  void (*correlate)(const float* x, const std::int64_t* offsets, const float* weights, std::int64_t taps,
                    std::int64_t n, float* y);
  /// dweights[t] += sum over i of dy[i] x[i + offsets[t]].
  void (*correlate_gradient)(const float* x, const std::int64_t* offsets, const float* dy, std::int64_t taps,
                             std::int64_t n, float* dweights);
};

/// Those of active_isa().
const RowOps& row_ops();
/// Those of one instruction set, which the machine must support.
const RowOps& row_ops(Isa isa);

}  // namespace locant
