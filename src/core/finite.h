#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/tensor.h"

namespace locant {

/// Index of the first number that is NaN or infinite; -1 where all are finite. One pass over the bits, on all
/// threads.
std::int64_t first_not_finite(std::span<const float> values);

/// "nan at (3, 17)", or "-inf at ..", of the first such number of a tensor; empty where all are finite.
std::string not_finite(const Tensor& tensor);

}  // namespace locant
