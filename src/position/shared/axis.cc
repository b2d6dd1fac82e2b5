#include "position/shared/axis.h"

#include <algorithm>

#include "position/shared/sequence.h"

namespace locant {

std::vector<std::int32_t> grid_places(const Grid& grid, GridAxis axis, std::int64_t prefix) {
  std::vector<std::int32_t> places(static_cast<std::size_t>(prefix), -1);
  for (std::int64_t t = 0; t < grid.tokens(); ++t)
    places.push_back(static_cast<std::int32_t>(place_of(grid, axis, t)));
  return places;
}

std::vector<std::int32_t> block_places(const RowMaps& maps, const Grid& block, GridAxis axis,
                                       std::int64_t tokens) {
  require(block.tokens() == maps.queries, "axis", "a block of {} tokens for groups of {} query slots",
          block.tokens(), maps.queries);
  require(tokens >= 1 && tokens <= (1 << 20), "axis", "{} tokens; there must be 1 to 2^20", tokens);
  std::vector<std::int32_t> places(static_cast<std::size_t>(tokens), -1);
  for (std::int64_t slot = 0; slot < maps.groups * maps.queries; ++slot) {
    const std::int64_t row =
        maps.query_rows.empty() ? slot : std::int64_t{maps.query_rows[static_cast<std::size_t>(slot)]};
    if (row < 0) continue;
    require(row < tokens, "axis", "row {} of {} tokens", row, tokens);
    places[static_cast<std::size_t>(row)] =
        static_cast<std::int32_t>(place_of(block, axis, slot % maps.queries));
  }
  return places;
}

void check_grid(const char* encoding, const Grid& grid, const char* what) {
  constexpr std::int64_t kMost = std::int64_t{1} << 20;
  const bool sane = grid.frames >= 1 && grid.rows >= 1 && grid.columns >= 1 && grid.frames <= kMost &&
                    grid.rows <= kMost && grid.columns <= kMost && grid.frames * grid.rows <= kMost &&
                    grid.tokens() <= kMost;
  require(sane, encoding, "{} is {}x{}x{} (frames, rows, columns); it must have 1 to {} tokens", what,
          grid.frames, grid.rows, grid.columns, kMost);
}

RowMaps block_rows(const char* encoding, const Grid& grid, const Grid& block, const Halo& halo) {
  check_grid(encoding, grid, "the grid");
  check_grid(encoding, block, "the block");
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  const bool sane = halo.top >= 0 && halo.left >= 0 && halo.bottom >= 0 && halo.right >= 0 &&
                    std::max(halo.top, halo.bottom) < 1024 && std::max(halo.left, halo.right) < 1024;
  require(sane && grid.frames == 1 && block.frames == 1, encoding,
          "a halo of {}, {}, {}, {} around blocks of {} frames; it must be 0 to 1023, and the grid flat",
          halo.top, halo.left, halo.bottom, halo.right, block.frames);
  const std::int64_t down = (grid.rows + block.rows - 1) / block.rows;
  const std::int64_t across = (grid.columns + block.columns - 1) / block.columns;
  RowMaps maps;
  maps.groups = down * across;
  maps.queries = block.tokens();
  maps.keys = (block.rows + halo.top + halo.bottom) * (block.columns + halo.left + halo.right);
  require(maps.keys <= kMost / maps.groups, encoding, "{} groups of {} key slots are too many", maps.groups,
          maps.keys);
  const auto put = [&](std::vector<std::int32_t>& rows, std::int64_t y, std::int64_t x) {
    const bool inside = y >= 0 && x >= 0 && y < grid.rows && x < grid.columns;
    rows.push_back(inside ? static_cast<std::int32_t>(y * grid.columns + x) : -1);
  };
  for (std::int64_t top = 0; top < down * block.rows; top += block.rows)
    for (std::int64_t left = 0; left < across * block.columns; left += block.columns) {
      for (std::int64_t y = top; y < top + block.rows; ++y)
        for (std::int64_t x = left; x < left + block.columns; ++x) put(maps.query_rows, y, x);
      for (std::int64_t y = top - halo.top; y < top + block.rows + halo.bottom; ++y)
        for (std::int64_t x = left - halo.left; x < left + block.columns + halo.right; ++x)
          put(maps.key_rows, y, x);
    }
  return maps;
}

AttentionTerm axis_products_term(const Context& ctx, const char* encoding, const Var& q, std::int64_t heads,
                                 const std::array<AxisTable, 3>& tables, const AxisIndices& indices) {
  const std::int64_t D = head_width(encoding, q, heads);
  std::array<Var, 3> numbers;
  for (std::size_t a = 0; a < 3; ++a) {
    const auto& index = indices.of(static_cast<GridAxis>(a));
    if (index == nullptr) continue;
    const AxisTable& table = tables[a];
    require(q.dim(1) == index->tokens(), encoding, "q of shape {} for an index of {} tokens", q.shape().str(),
            index->tokens());
    const std::int64_t width = table.width > 0 ? table.width : D;
    check_vectors(encoding, table.name, table.vectors, heads, table.rows, width);
    numbers[a] = axis_products(ctx, q, heads, table.vectors, index, table.options);
  }
  return axis_term(numbers[1], numbers[2], indices.first_key, numbers[0]);
}

std::int64_t half_head_width(const char* encoding, const Var& q, std::int64_t heads) {
  const std::int64_t D = head_width(encoding, q, heads);
  require(D % 2 == 0, encoding, "q of shape {} has {} heads of width {}, which must be even", q.shape().str(),
          heads, D);
  return D / 2;
}

}  // namespace locant
