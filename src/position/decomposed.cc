#include "position/decomposed.h"

#include <memory>
#include <vector>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"

namespace locant {

namespace {
constexpr const char* kDecomposedName = "decomposed";
}

Var resize_decomposed(const Context& ctx, const Var& table, std::int64_t Q, std::int64_t K) {
  const Shape& shape = table.shape();
  if (shape.rank() != 2 || shape[0] < 1)
    fail(kDecomposedName, "a table of shape {}; it must be (rows, D)", shape.str());
  require(Q >= 1 && K >= 1 && std::max(Q, K) <= (1 << 20), kDecomposedName,
          "an axis of {} query and {} key places", Q, K);
  const std::int64_t rows = decomposed_rows(Q, K);
  if (shape[0] == rows) return table;
  const Var line = reshape(ctx, table, {1, shape[0], 1, shape[1]});
  return reshape(ctx, resize(ctx, line, rows, 1, ResizeRule::bilinear), {rows, shape[1]});
}

namespace {

std::shared_ptr<const AxisIndex> axis_index(std::vector<std::int32_t> places, std::int64_t Q,
                                            std::int64_t K) {
  return make_axis_index(std::move(places), Q, K,
                         [&](std::int64_t a, std::int64_t b) { return decomposed_row(Q, K, a, b); });
}

}  // namespace

AxisIndices decomposed_indices(const Grid& query, const Grid& key, std::int64_t prefix, bool frames) {
  check_grid(kDecomposedName, query, "the query grid");
  check_grid(kDecomposedName, key, "the key grid");
  require(prefix >= 0 && prefix <= (1 << 20), kDecomposedName, "{} special tokens; there may be 0 to 2^20",
          prefix);
  require(frames || (query.frames == 1 && key.frames == 1), kDecomposedName,
          "grids of {} and {} frames need a table along them", query.frames, key.frames);
  const auto of = [&](GridAxis axis) {
    return axis_index(grid_places(query, axis, prefix), extent_of(query, axis), extent_of(key, axis));
  };
  return {frames ? of(GridAxis::frames) : nullptr, of(GridAxis::rows), of(GridAxis::columns), prefix};
}

AxisIndices decomposed_window_indices(const RowMaps& maps, std::int64_t tokens, const Grid& query,
                                      const Grid& key) {
  check_grid(kDecomposedName, query, "the query window");
  check_grid(kDecomposedName, key, "the key window");
  require(query.frames == 1 && key.frames == 1 && key.tokens() == maps.keys, kDecomposedName,
          "windows of {} keys for {} key slots", key.tokens(), maps.keys);
  const auto of = [&](GridAxis axis) {
    return axis_index(block_places(maps, query, axis, tokens), extent_of(query, axis), extent_of(key, axis));
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AttentionTerm decomposed_term(const Context& ctx, const Decomposed& tables, const Var& q, std::int64_t heads,
                              const AxisIndices& indices, std::int64_t head_width) {
  require(heads >= 1 && head_width >= 0, kDecomposedName, "{} heads of width {}", heads, head_width);
  const bool joint = head_width > 0 && q.shape().rank() == 3 && q.dim(2) > heads * head_width;
  const Var own = joint ? slice_axis(ctx, q, 2, 0, heads * head_width) : q;
  const auto table = [&](const char* name, const Var& vectors, const auto& index) {
    return AxisTable{name, vectors,
                     index == nullptr ? 0 : decomposed_rows(index->coordinates(), index->extent())};
  };
  return axis_products_term(ctx, kDecomposedName, own, heads,
                            {table(Decomposed::kFrames, tables.frames, indices.frames),
                             table(Decomposed::kRows, tables.rows, indices.rows),
                             table(Decomposed::kColumns, tables.columns, indices.columns)},
                            indices);
}

}  // namespace locant
