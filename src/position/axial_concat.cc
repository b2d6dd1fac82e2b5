#include "position/axial_concat.h"

#include <cmath>

#include "core/error.h"

namespace locant {

namespace {
constexpr const char* kAxialConcatName = "axial_concat";
}

AxisIndices axial_concat_indices(std::int64_t K, const Grid& query, const Grid& key) {
  require(K >= 0 && K <= (1 << 20), kAxialConcatName, "offsets clipped at {}; K must be 0 to 2^20", K);
  check_grid(kAxialConcatName, query, "the query grid");
  check_grid(kAxialConcatName, key, "the key grid");
  require(query.frames == 1 && key.frames == 1, kAxialConcatName,
          "grids of {} and {} frames; the tables are of a plane", query.frames, key.frames);
  const auto of = [&](GridAxis axis) {
    return make_axis_index(grid_places(query, axis), extent_of(query, axis), extent_of(key, axis),
                           [&](std::int64_t a, std::int64_t b) { return axial_concat_row(K, a, b); });
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AttentionTerm axial_concat_term(const Context& ctx, const AxialConcat& tables, const Var& q,
                                std::int64_t heads, float scale, const AxisIndices& indices) {
  require(std::isfinite(scale), kAxialConcatName, "a scale of {}", scale);
  const std::int64_t half = half_head_width(kAxialConcatName, q, heads), R = axial_concat_rows(tables.K);
  return axis_products_term(ctx, kAxialConcatName, q, heads,
                            {AxisTable{"frames"},
                             {AxialConcat::kRows, tables.rows, R, half, {.alpha = scale, .first = half}},
                             {AxialConcat::kColumns, tables.columns, R, half, {.alpha = scale}}},
                            indices);
}

}  // namespace locant
