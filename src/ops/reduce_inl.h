#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/parallel.h"
#include "core/tensor.h"
#include "kernels/row_ops.h"

namespace locant {

/// body(begin, end, sums) over rows [0, rows) in pieces, `sums` (width) zeroed for each piece; the total of
/// all pieces in their order. The pieces depend on `rows` alone, so equal inputs give equal bits for any
/// number of threads.
template <class Body>
Tensor reduce_rows(std::int64_t rows, std::int64_t width, const Body& body) {
  constexpr std::int64_t kMostPieces = 32, kFewestRows = 64;
  const std::int64_t pieces = std::clamp<std::int64_t>(rows / kFewestRows, 1, kMostPieces);
  Tensor partial = Tensor::zeros({pieces, width});
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      body(rows * p / pieces, rows * (p + 1) / pieces, partial.data() + p * width);
  });
  Tensor total = partial.slice(0, 1).reshaped({width});
  if (pieces == 1) return total;
  row_ops().sum_rows(partial.data() + width, nullptr, pieces - 1, width, total.data());
  return total.clone();  // lets go of the partial sums
}

/// Sum of f(i) over [begin, end), in lanes that the compiler makes vectors of.
template <class F>
double sum_run(std::int64_t begin, std::int64_t end, const F& f) {
  constexpr std::int64_t kLanes = 16;
  float lanes[kLanes] = {};
  std::int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes)
    for (std::int64_t k = 0; k < kLanes; ++k) lanes[k] += f(i + k);
  double sum = 0;
  for (const float lane : lanes) sum += static_cast<double>(lane);
  for (; i < end; ++i) sum += static_cast<double>(f(i));
  return sum;
}

/// Rows that make a piece of work worth a thread of its own.
inline std::int64_t row_grain(std::int64_t width) {
  return std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(width, 1));
}
constexpr std::int64_t kElementGrain = 16384;

/// Copies `count` numbers of each of `outer` blocks, whose beginnings lie from_step and to_step apart (a
/// from_step of 0: the same block again).
inline void copy_blocks(std::int64_t outer, std::int64_t count, const float* from, std::int64_t from_step,
                        float* to, std::int64_t to_step) {
  parallel_for(outer, row_grain(count), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t o = begin; o < end; ++o) std::copy_n(from + o * from_step, count, to + o * to_step);
  });
}

}  // namespace locant
