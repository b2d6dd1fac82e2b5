#pragma once

// What the encodings of sequences share: rows of a table by distance, and checks. Query i stands at position
// i + past and key j at position j, where `past` keys came before the first query (memory, cache):
//
//   distance(i, j) = i + past - j        0: itself, positive: the key is in the past

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "ops/attention.h"

namespace locant {

/// Throws Error that names the encoding unless 1 <= Nq, Nk and 0 <= past, all of them sane.
inline void check_sequence(const char* encoding, std::int64_t Nq, std::int64_t Nk, std::int64_t past) {
  constexpr std::int64_t kMost = std::int64_t{1} << 29;  // codes and their sums are 32-bit
  require(
      Nq >= 1 && Nk >= 1 && past >= 0 && Nq <= kMost && Nk <= kMost && past <= kMost, encoding,
      "{} queries on {} keys with {} keys before the first query; there must be 1 to {} of each (0 before)",
      Nq, Nk, past, kMost);
}

/// The term's map: offset = i - j + Nk - 1, its entry row(distance). A negative row reads nothing. O(Nq + Nk)
/// integers. Throws Error as check_sequence does.
template <class Row>
std::shared_ptr<const GatherMap> sequence_gather(const char* encoding, std::int64_t Nq, std::int64_t Nk,
                                                 std::int64_t past, const Row& row) {
  check_sequence(encoding, Nq, Nk, past);
  auto gather = std::make_shared<GatherMap>();
  for (std::int64_t i = 0; i < Nq; ++i) gather->query_code.push_back(static_cast<std::int32_t>(i));
  for (std::int64_t j = 0; j < Nk; ++j) gather->key_code.push_back(static_cast<std::int32_t>(j));
  gather->origin = static_cast<std::int32_t>(Nk - 1);
  gather->offsets = Nq + Nk - 1;
  for (std::int64_t offset = 0; offset < gather->offsets; ++offset)
    gather->map.push_back(static_cast<std::int32_t>(row(offset - (Nk - 1) + past)));
  return gather;
}

/// Throws Error that names the encoding, the table and both shapes unless the table is `shape`; and when it
/// holds a number that is not finite.
inline void check_table(const char* encoding, const std::string& name, const Var& table, const Shape& shape) {
  if (!table.defined()) fail(encoding, "{} is missing; a table of shape {} was expected", name, shape.str());
  if (table.shape() != shape)
    fail(encoding, "{} has the shape {}; {} was expected", name, table.shape().str(), shape.str());
  for (const float x : table.value().values())
    if (!std::isfinite(x)) fail(encoding, "{} of shape {} holds {}", name, shape.str(), x);
}

/// The same for vectors (rows, width) shared by the heads, or (heads, rows, width).
inline void check_vectors(const char* encoding, const std::string& name, const Var& vectors,
                          std::int64_t heads, std::int64_t rows, std::int64_t width) {
  const bool per_head = vectors.defined() && vectors.shape().rank() == 3;
  check_table(encoding, name, vectors, per_head ? Shape{heads, rows, width} : Shape{rows, width});
}

}  // namespace locant
