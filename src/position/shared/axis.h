#pragma once

// What encodings along the axes of a grid share: where a token stands, blocks of a grid as row maps, and axis
// terms whose numbers are products of the queries with tables.

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "core/error.h"
#include "ops/attention/attention.h"
#include "ops/axis_products.h"
#include "position/grid.h"

namespace locant {

enum class GridAxis { frames, rows, columns };

constexpr std::int64_t extent_of(const Grid& grid, GridAxis axis) {
  return axis == GridAxis::frames ? grid.frames : axis == GridAxis::rows ? grid.rows : grid.columns;
}

/// Coordinate of token t of a grid.
constexpr std::int64_t place_of(const Grid& grid, GridAxis axis, std::int64_t t) {
  if (axis == GridAxis::columns) return t % grid.columns;
  return axis == GridAxis::rows ? t / grid.columns % grid.rows : t / (grid.columns * grid.rows);
}

/// Coordinates of the tokens of a grid behind `prefix` special ones, which have none (-1).
std::vector<std::int32_t> grid_places(const Grid& grid, GridAxis axis, std::int64_t prefix = 0);

/// Coordinates of tokens in the group that holds them: the query slots of each group are the tokens of
/// `block`, row-major. -1 for tokens that no slot holds.
std::vector<std::int32_t> block_places(const RowMaps& maps, const Grid& block, GridAxis axis,
                                       std::int64_t tokens);

/// What a block of queries sees around itself.
struct Halo {
  std::int64_t top = 0, left = 0, bottom = 0, right = 0;
};

/// A grid cut into blocks of queries, each on the keys of its block and the halo around it. Groups are the
/// blocks, row-major; slots row-major; slots outside the grid are padding (-1). Throws Error that names the
/// encoding when the block is empty, a halo negative, or there are more than 2^30 slots.
RowMaps block_rows(const char* encoding, const Grid& grid, const Grid& block, const Halo& halo);

/// Throws Error that names the encoding unless the grid has 1 to 2^20 tokens.
void check_grid(const char* encoding, const Grid& grid, const char* what);

/// The indices of an axis term; undefined: the axis is not used.
struct AxisIndices {
  std::shared_ptr<const AxisIndex> frames = nullptr, rows = nullptr, columns = nullptr;
  std::int64_t first_key = 0;
  const std::shared_ptr<const AxisIndex>& of(GridAxis axis) const {
    return axis == GridAxis::frames ? frames : axis == GridAxis::rows ? rows : columns;
  }
};

/// The index whose entry for coordinate c and key place e is row(c, e). Throws Error on more than 2^26
/// entries.
template <class Row>
std::shared_ptr<const AxisIndex> make_axis_index(std::vector<std::int32_t> places, std::int64_t coordinates,
                                                 std::int64_t extent, const Row& row) {
  constexpr std::int64_t kMost = std::int64_t{1} << 26;
  require(coordinates >= 1 && extent >= 1 && coordinates <= kMost / extent, "axis",
          "an axis of {} query and {} key places; {} pairs of them are the most", coordinates, extent, kMost);
  std::vector<std::int32_t> rows;
  for (std::int64_t c = 0; c < coordinates; ++c)
    for (std::int64_t e = 0; e < extent; ++e) rows.push_back(static_cast<std::int32_t>(row(c, e)));
  return std::make_shared<AxisIndex>(std::move(places), coordinates, extent, std::move(rows));
}

/// A table of vectors along one axis, and what its products need.
struct AxisTable {
  const char* name;
  Var vectors = {};
  std::int64_t rows = 0;   ///< that it must have
  std::int64_t width = 0;  ///< channels of a head that it meets, from options.first on; 0: all
  AxisProductOptions options = {};
};

/// The axis term of q's products with the tables of frames, rows and columns. q (B, N, H D); tables (R, W) or
/// (H, R, W). Throws Error that names the encoding, the table and both shapes when they differ from those
/// wanted.
AttentionTerm axis_products_term(const Context& ctx, const char* encoding, const Var& q, std::int64_t heads,
                                 const std::array<AxisTable, 3>& tables, const AxisIndices& indices);

/// D/2 of queries (B, Nq, H D), for tables that meet a half each. Throws Error that names the encoding when
/// D is odd.
std::int64_t half_head_width(const char* encoding, const Var& q, std::int64_t heads);

}  // namespace locant
