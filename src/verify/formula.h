#pragma once

#include <cstdint>
#include <string_view>

#include "core/rng.h"
#include "core/tensor.h"

namespace locant {

/// Number i of the tensor whose name hashes to `hash`, in [-1, 1): 2 u - 1, u the top 24 bits of
/// splitmix64(hash + i).
constexpr double formula_value(std::uint64_t hash, std::uint64_t i) {
  return 2.0 * (static_cast<double>(splitmix64(hash + i) >> 40) * 0x1p-24) - 1.0;
}

/// float32(offset + scale * v(name, i)) for every flat index i: how oracle files give weights and inputs
/// without storing them.
Tensor formula_tensor(const Shape& shape, std::string_view name, double offset, double scale);

}  // namespace locant
