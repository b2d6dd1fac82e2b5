#pragma once

// What the bias tables of grids share: the row of a table by displacement. Query (t, r, c) stands at (step t,
// step r, step c) of the key grid; a displacement is query minus key on each axis:
//
//   offset(i, j) = ((dt + Kt - 1) Wr + dr + Kr - 1) Wc + dc + Kc - 1,    Wa = step (Qa - 1) + Ka

#include <cstdint>
#include <memory>
#include <vector>

#include "core/error.h"
#include "ops/attention/attention.h"
#include "position/grid.h"

namespace locant {

/// Displacements of a grid on itself: rows of a table with one for each, in the order above with step 1.
constexpr std::int64_t displacement_rows(Grid g) {
  return (2 * g.frames - 1) * (2 * g.rows - 1) * (2 * g.columns - 1);
}
/// The row of one of them.
constexpr std::int64_t displacement_row(Grid g, std::int64_t dt, std::int64_t dr, std::int64_t dc) {
  return ((dt + g.frames - 1) * (2 * g.rows - 1) + dr + g.rows - 1) * (2 * g.columns - 1) + dc + g.columns -
         1;
}
/// The row for tokens i and j of the grid.
constexpr std::int64_t displacement_index(Grid g, std::int64_t i, std::int64_t j) {
  const std::int64_t area = g.rows * g.columns;
  return displacement_row(g, i / area - j / area, i / g.columns % g.rows - j / g.columns % g.rows,
                          i % g.columns - j % g.columns);
}

/// Rows that special tokens in front of both grids read: as query of a grid key, as key of a grid query, and
/// among themselves. Negative: nothing is added.
struct PrefixRows {
  std::int64_t tokens = 0, as_query = -1, as_key = -1, both = -1;
};

/// Displacements of two grids. Throws Error that names the encoding when a grid is empty, the step is not
/// positive, or the displacements are more than 2^26.
inline std::int64_t grid_displacements(const char* encoding, Grid query, Grid key, std::int64_t step = 1) {
  constexpr std::int64_t kMost = std::int64_t{1} << 26;  // four times as many still fit 32 bits
  std::int64_t all = 1;
  const std::int64_t axes[3][2] = {
      {query.frames, key.frames}, {query.rows, key.rows}, {query.columns, key.columns}};
  for (const auto& [q, k] : axes) {
    const bool sane = q >= 1 && k >= 1 && step >= 1 && q <= kMost && k <= kMost && step <= kMost / q;
    if (sane) all *= step * (q - 1) + k;
    if (!sane || all > kMost)
      fail(
          encoding,
          "a query grid of {}x{}x{} with step {} on a key grid of {}x{}x{}; sides must be at least 1 and the "
          "displacements at most {}",
          query.frames, query.rows, query.columns, step, key.frames, key.rows, key.columns, kMost);
  }
  return all;
}

/// The term's map: row(dt, dr, dc) for every displacement, negative where nothing is added; O(Nq + Nk +
/// displacements) integers. Throws Error as grid_displacements does, and when a row lies beyond the table.
template <class Row>
std::shared_ptr<const OffsetMap> grid_gather(const char* encoding, Grid query, Grid key,
                                             std::int64_t table_rows, const PrefixRows& prefix,
                                             std::int64_t step, const Row& row) {
  const std::int64_t all = grid_displacements(encoding, query, key, step);
  require(prefix.tokens >= 0 && prefix.tokens <= (1 << 20), encoding, "{} tokens in front of the grid",
          prefix.tokens);
  const std::int64_t wr = step * (query.rows - 1) + key.rows, wc = step * (query.columns - 1) + key.columns;
  const std::int64_t kt = key.frames, kr = key.rows, kc = key.columns;
  auto gather = std::make_shared<OffsetMap>();
  const std::int64_t origin = ((kt - 1) * wr + kr - 1) * wc + kc - 1;
  // A special token stands so far away that its offsets are none of the grid's: as query in the second `all`
  // offsets, as key in the third, both in the fourth; or, where all read one row, anywhere behind the first.
  const bool alike = prefix.as_query == prefix.as_key && prefix.as_key == prefix.both;
  gather->query_code.assign(static_cast<std::size_t>(prefix.tokens), static_cast<std::int32_t>(all));
  gather->key_code.assign(static_cast<std::size_t>(prefix.tokens),
                          static_cast<std::int32_t>(alike ? origin - all : -2 * all));
  const auto put = [&](std::vector<std::int32_t>& codes, Grid g, std::int64_t by) {
    for (std::int64_t t = 0; t < g.frames; ++t)
      for (std::int64_t r = 0; r < g.rows; ++r)
        for (std::int64_t c = 0; c < g.columns; ++c)
          codes.push_back(static_cast<std::int32_t>(by * ((t * wr + r) * wc + c)));
  };
  put(gather->query_code, query, step);
  put(gather->key_code, key, 1);
  gather->origin = static_cast<std::int32_t>(origin);
  bool identity = prefix.tokens == 0 && all == table_rows;
  for (std::int64_t offset = 0; offset < all; ++offset) {
    const std::int64_t at =
        row(offset / (wr * wc) - (kt - 1), offset / wc % wr - (kr - 1), offset % wc - (kc - 1));
    require(at < table_rows, encoding, "row {} of a table with {} rows", at, table_rows);
    identity = identity && at == offset;
    gather->map.push_back(static_cast<std::int32_t>(at));
  }
  if (identity) gather->map.clear();
  gather->offsets = all;
  if (prefix.tokens == 0) return gather;
  for (const std::int64_t at : {prefix.as_query, prefix.as_key, prefix.both}) {
    require(at < table_rows, encoding, "row {} of a table with {} rows", at, table_rows);
    gather->map.insert(gather->map.end(), static_cast<std::size_t>(all), static_cast<std::int32_t>(at));
  }
  gather->offsets = alike ? 2 * all + 1 : 4 * all;
  gather->map.resize(static_cast<std::size_t>(gather->offsets));
  return gather;
}

/// The map of a grid on itself, by a table whose rows begin with those of displacement_row. Throws Error as
/// grid_gather does.
inline std::shared_ptr<const OffsetMap> displacement_gather(const char* encoding, Grid grid,
                                                            std::int64_t table_rows,
                                                            const PrefixRows& prefix = {}) {
  return grid_gather(encoding, grid, grid, table_rows, prefix, 1,
                     [grid](std::int64_t dt, std::int64_t dr, std::int64_t dc) {
                       return displacement_row(grid, dt, dr, dc);
                     });
}

}  // namespace locant
