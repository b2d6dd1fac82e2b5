#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"

namespace locant {

/// How two operands repeat over a result: its extents with neighbouring axes joined where they can be, and
/// the floats between neighbours along each in the operands (0: repeated).
struct Broadcast {
  Shape shape;  ///< of the result, as the caller sees it
  int rank = 0;
  std::array<std::int64_t, Shape::kMaxRank> extents{}, a{}, b{};
};

/// Extents must be equal, 1 or absent on one side. Throws Error(op, ...) with both shapes.
Broadcast broadcast(const char* op, const Shape& a, const Shape& b);

Tensor broadcast_product(const Broadcast& plan, const Tensor& a, const Tensor& b);
Tensor broadcast_sum(const Broadcast& plan, const Tensor& a, const Tensor& b);
/// The first operand alone, repeated.
Tensor broadcast_copy(const Broadcast& plan, const Tensor& a);

/// x summed over the axes in which `shape` has 1 or nothing. Equal inputs give equal bits for any number of
/// threads. May share x's storage when nothing is summed.
Tensor sum_to(const Tensor& x, const Shape& shape);
/// x * y summed in the same way; y broadcasts to x.
Tensor product_sums(const Tensor& x, const Tensor& y, const Shape& shape);

}  // namespace locant
