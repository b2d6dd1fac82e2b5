#pragma once

#include <cstdint>

#include "simd/isa.h"

namespace locant {

/// Small products on rows of `width` contiguous numbers that lie anywhere apart, in one instruction set and
/// the calling thread: what a matrix library spends more time to set up than to do.
struct RowMix {
  /// y[m] = sum over k of a[m a_row + k a_column] x[k], m < M, k < K; rows x_row and y_row apart. K >= 1.
  void (*mix)(const float* a, std::int64_t a_row, std::int64_t a_column, std::int64_t M, std::int64_t K,
              const float* x, std::int64_t x_row, std::int64_t width, float* y, std::int64_t y_row);
  /// out[m K + k] = sum over o < outer of x[m x_row + o x_outer].y[k y_row + o y_outer], m < M, k < K.
  void (*products)(const float* x, std::int64_t x_row, std::int64_t x_outer, const float* y,
                   std::int64_t y_row, std::int64_t y_outer, std::int64_t M, std::int64_t K,
                   std::int64_t outer, std::int64_t width, float* out);
  /// y[i] = bias + sum over t of weights[t] x[i], each a row of `width` multiplied number by number, i <
  /// rows, t < taps; that of x at x + i x_row + offsets[t]. Rows of y lie y_row apart. bias may be null:
  /// zeros.
  void (*weigh)(const float* x, std::int64_t x_row, const std::int64_t* offsets, const float* const* weights,
                std::int64_t taps, const float* bias, std::int64_t rows, std::int64_t width, float* y,
                std::int64_t y_row);
};

/// Those of active_isa().
const RowMix& row_mix();
/// Those of one instruction set, which the machine must support.
const RowMix& row_mix(Isa isa);

}  // namespace locant
