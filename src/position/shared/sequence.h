#pragma once

// What the encodings of sequences share: rows of a table by distance, and checks. Query i stands at position
// i + past and key j at position j, where `past` keys came before the first query (memory, cache):
//
//   distance(i, j) = i + past - j        0: itself, positive: the key is in the past

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/finite.h"
#include "ops/attention/attention.h"

namespace locant {

/// Throws Error that names the encoding unless 1 <= Nq, Nk and 0 <= past, all of them sane.
inline void check_sequence(const char* encoding, std::int64_t Nq, std::int64_t Nk, std::int64_t past) {
  constexpr std::int64_t kMost = std::int64_t{1} << 29;  // codes and their sums are 32-bit
  require(
      Nq >= 1 && Nk >= 1 && past >= 0 && Nq <= kMost && Nk <= kMost && past <= kMost, encoding,
      "{} queries on {} keys with {} keys before the first query; there must be 1 to {} of each (0 before)",
      Nq, Nk, past, kMost);
}

/// Throws Error that names the encoding when there are more queries than keys.
inline void check_last_queries(const char* encoding, std::int64_t Nq, std::int64_t Nk) {
  require(Nq <= Nk, encoding, "{} queries on {} keys; the queries are the last of the keys", Nq, Nk);
}

/// D of queries (B, Nq, H D). Throws Error that names the encoding when they do not split into heads.
inline std::int64_t head_width(const char* encoding, const Var& q, std::int64_t heads) {
  require(heads >= 1 && q.shape().rank() == 3 && q.dim(2) % heads == 0, encoding,
          "q of shape {} does not split into {} heads; it must be (B, Nq, H D)", q.shape().str(), heads);
  return q.dim(2) / heads;
}

/// The term's map: offset = i - j + Nk - 1, its entry row(distance). A negative row reads nothing. O(Nq + Nk)
/// integers. Throws Error as check_sequence does, and when a row is beyond 32 bits.
template <class Row>
std::shared_ptr<const OffsetMap> sequence_gather(const char* encoding, std::int64_t Nq, std::int64_t Nk,
                                                 std::int64_t past, const Row& row) {
  check_sequence(encoding, Nq, Nk, past);
  auto gather = std::make_shared<OffsetMap>();
  for (std::int64_t i = 0; i < Nq; ++i) gather->query_code.push_back(static_cast<std::int32_t>(i));
  for (std::int64_t j = 0; j < Nk; ++j) gather->key_code.push_back(static_cast<std::int32_t>(j));
  gather->origin = static_cast<std::int32_t>(Nk - 1);
  gather->offsets = Nq + Nk - 1;
  for (std::int64_t offset = 0; offset < gather->offsets; ++offset) {
    const std::int64_t entry = row(offset - (Nk - 1) + past);
    require(entry <= std::numeric_limits<std::int32_t>::max(), encoding, "row {} of a table; rows are 32-bit",
            entry);
    gather->map.push_back(static_cast<std::int32_t>(entry));
  }
  return gather;
}

/// Throws Error that names the encoding, the table and both shapes unless the table is `shape`. Its numbers
/// are looked at where they come in (models/checkpoint.h), not at every call.
inline void check_table(const char* encoding, const std::string& name, const Var& table, const Shape& shape) {
  if (!table.defined()) fail(encoding, "{} is missing; a table of shape {} was expected", name, shape.str());
  if (table.shape() != shape)
    fail(encoding, "{} has the shape {}; {} was expected", name, table.shape().str(), shape.str());
}

/// For the few tables of which a NaN would not reach the result (a clamp or a softmax of its own lies
/// between): throws Error when a number is not finite.
inline void check_finite(const char* encoding, const std::string& name, const Var& table) {
  const std::string bad = not_finite(table.value());
  require(bad.empty(), encoding, "{} holds {}", name, bad);
}

/// check_table for vectors (rows, width) shared by the heads, or (heads, rows, width).
inline void check_vectors(const char* encoding, const std::string& name, const Var& vectors,
                          std::int64_t heads, std::int64_t rows, std::int64_t width) {
  const bool per_head = vectors.defined() && vectors.shape().rank() == 3;
  check_table(encoding, name, vectors, per_head ? Shape{heads, rows, width} : Shape{rows, width});
}

}  // namespace locant
