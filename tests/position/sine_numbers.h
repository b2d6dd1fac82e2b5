#pragma once

#include <vector>

#include "ops/attention/attention.h"
#include "tests/support/golden_numbers.h"

namespace locant::testing {

/// The numbers of golden layers as a leaf with gradient, and their input as a constant.
inline Var sine(const Shape& shape, int s) { return Var(golden_parameter(shape, s), true); }
inline Var cosine(const Shape& shape) { return Var(golden_input(shape)); }

/// The row that query slot i and key slot j read by a map.
inline std::int64_t mapped(const OffsetMap& map, std::int64_t i, std::int64_t j) {
  return map.map.at(static_cast<std::size_t>(map.query_code.at(static_cast<std::size_t>(i)) -
                                             map.key_code.at(static_cast<std::size_t>(j)) + map.origin));
}

/// The row that each pair of slots reads by a map: (Nq, Nk); -1: none, -2: an offset outside the map.
inline const AttentionTerm::Gather& gather_of(const AttentionTerm& term) {
  return std::get<AttentionTerm::Gather>(term.kind);
}

inline std::vector<std::int64_t> rows_by_map(const OffsetMap& map) {
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
