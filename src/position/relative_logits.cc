#include "position/relative_logits.h"

#include <cmath>
#include <vector>

#include "core/error.h"

namespace locant {

namespace {
constexpr const char* kRelativeLogitsName = "relative_logits";
}  // namespace

AxisIndices relative_logits_indices(const Grid& grid) {
  check_grid(kRelativeLogitsName, grid, "the grid");
  require(grid.frames == 1, kRelativeLogitsName, "{} frames; the tables are of rows and columns",
          grid.frames);
  const auto of = [&](GridAxis axis) {
    const std::int64_t K = extent_of(grid, axis);
    return make_axis_index(grid_places(grid, axis), K, K,
                           [&](std::int64_t a, std::int64_t b) { return relative_logits_row(K, a, b); });
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AxisIndices absolute_logits_indices(const Grid& grid) {
  check_grid(kRelativeLogitsName, grid, "the grid");
  require(grid.frames == 1, kRelativeLogitsName, "{} frames; the tables are of rows and columns",
          grid.frames);
  const auto of = [&](std::int64_t K) {  // every query meets the same vectors
    return make_axis_index(std::vector<std::int32_t>(static_cast<std::size_t>(grid.tokens())), 1, K,
                           [](std::int64_t, std::int64_t b) { return b; });
  };
  return {nullptr, of(grid.rows), of(grid.columns), 0};
}

namespace {
/// Queries of a block along a side.
std::int64_t queries_of(std::int64_t block, std::int64_t stride) {
  require(stride >= 1 && block % stride == 0, kRelativeLogitsName,
          "every {} places of blocks of {} ask; it must divide them", stride, block);
  return block / stride;
}
}  // namespace

std::shared_ptr<const RowMaps> halo_rows(const Grid& grid, std::int64_t block, std::int64_t halo,
                                         std::int64_t stride) {
  const std::int64_t side = queries_of(block, stride);
  auto maps = std::make_shared<RowMaps>(
      block_rows(kRelativeLogitsName, grid, {1, block, block}, {halo, halo, halo, halo}));
  if (stride == 1) return maps;
  const Grid asking{1, (grid.rows + stride - 1) / stride, (grid.columns + stride - 1) / stride};
  RowMaps queries = block_rows(kRelativeLogitsName, asking, {1, side, side}, {});
  maps->queries = queries.queries;
  maps->query_rows = std::move(queries.query_rows);
  return maps;
}

AxisIndices halo_indices(const RowMaps& maps, std::int64_t tokens, std::int64_t block, std::int64_t halo,
                         std::int64_t stride) {
  constexpr std::int64_t kMost = std::int64_t{1} << 20;  // whose squares are still numbers
  const bool sane = block >= 1 && block <= kMost && halo >= 0 && halo <= kMost;
  const std::int64_t window = sane ? block + 2 * halo : 0;
  const std::int64_t side = sane ? queries_of(block, stride) : 0;
  require(sane && maps.queries == side * side && maps.keys == window * window, kRelativeLogitsName,
          "maps of {} queries on {} keys do not hold blocks of {} with a halo of {} and a stride of {}",
          maps.queries, maps.keys, block, halo, stride);
  const auto of = [&](GridAxis axis) {
    return make_axis_index(block_places(maps, {1, side, side}, axis, tokens), side, window,
                           [&](std::int64_t a, std::int64_t b) { return relative_logits_row(window, a, b); });
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AttentionTerm relative_logits_term(const Context& ctx, const RelativeLogits& tables, const Var& q,
                                   std::int64_t heads, float scale, const AxisIndices& indices) {
  require(std::isfinite(scale), kRelativeLogitsName, "a scale of {}", scale);
  const auto table = [&](const char* name, const Var& vectors, const auto& index) {
    const std::int64_t K = index == nullptr ? 0 : index->extent();
    return AxisTable{
        name, vectors, tables.absolute ? K : 2 * K - 1, 0, {.alpha = tables.scaled ? scale : 1.0f}};
  };
  const bool absolute = tables.absolute;
  return axis_products_term(
      ctx, kRelativeLogitsName, q, heads,
      {AxisTable{"frames"},
       table(absolute ? RelativeLogits::kAbsoluteRows : RelativeLogits::kRows, tables.rows, indices.rows),
       table(absolute ? RelativeLogits::kAbsoluteColumns : RelativeLogits::kColumns, tables.columns,
             indices.columns)},
      indices);
}

}  // namespace locant
