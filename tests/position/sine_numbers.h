#pragma once

#include <cmath>
#include <vector>

#include "ops/attention.h"

namespace locant::testing {

/// Numbers of golden layers: element k of parameter tensor s is 0.5 sin(1.3 k + 0.1 s).
inline Var sine(const Shape& shape, int s) {
  Tensor out(shape);
  for (std::int64_t k = 0; k < out.numel(); ++k)
    out[k] = static_cast<float>(0.5 * std::sin(1.3 * static_cast<double>(k) + 0.1 * s));
  return Var(out, true);
}

/// Their input: element k is cos(0.37 k).
inline Var cosine(const Shape& shape) {
  Tensor out(shape);
  for (std::int64_t k = 0; k < out.numel(); ++k)
    out[k] = static_cast<float>(std::cos(0.37 * static_cast<double>(k)));
  return Var(out);
}

/// The row that each pair of slots reads by a map: (Nq, Nk); -1: none, -2: an offset outside the map.
inline std::vector<std::int64_t> rows_by_map(const GatherMap& map) {
  std::vector<std::int64_t> out;
  for (const std::int32_t q : map.query_code)
    for (const std::int32_t k : map.key_code) {
      const std::int64_t offset = q - k + map.origin;
      const bool inside = offset >= 0 && offset < map.offsets;
      out.push_back(!inside ? -2 : map.map.empty() ? offset : map.map[static_cast<std::size_t>(offset)]);
    }
  return out;
}

}  // namespace locant::testing
