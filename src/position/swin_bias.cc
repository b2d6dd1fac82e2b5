#include "position/swin_bias.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/resize.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kSwinBiasName = "swin_bias";

// Rows of the table of a window, which must not be empty or too large to count.
std::int64_t checked_rows(Window w) {
  const Grid grid{1, w.rows, w.columns};
  return grid_displacements(kSwinBiasName, grid, grid);
}

}  // namespace

Var resize_swin_bias(const Context& ctx, const Var& table, Window from, Window to) {
  const Shape& shape = table.shape();
  const std::int64_t rows = checked_rows(from), new_rows = checked_rows(to);
  if (shape.rank() != 2 || shape[0] != rows)
    fail(kSwinBiasName, "a table of shape {} does not belong to a {}x{} window: {} rows were expected",
         shape.str(), from.rows, from.columns, rows);
  if (from == to) return table;
  const std::int64_t heads = shape[1];
  const Var grid = reshape(ctx, table, {1, 2 * from.rows - 1, 2 * from.columns - 1, heads});
  const Var resized = resize(ctx, grid, 2 * to.rows - 1, 2 * to.columns - 1, ResizeRule::bicubic);
  return reshape(ctx, resized, {new_rows, heads});
}

std::shared_ptr<const OffsetMap> swin_gather(Window table, Window w) {
  const std::int64_t rows = checked_rows(table);
  if (w.rows < 1 || w.columns < 1 || w.rows > table.rows || w.columns > table.columns)
    fail(kSwinBiasName, "a {}x{} window does not fit a table made for {}x{}", w.rows, w.columns, table.rows,
         table.columns);
  auto gather = std::make_shared<OffsetMap>();
  for (std::int64_t i = 0; i < w.tokens(); ++i)
    gather->query_code.push_back(static_cast<std::int32_t>(swin_code(table, w, i)));
  gather->key_code = gather->query_code;
  gather->origin = static_cast<std::int32_t>(swin_origin(table));
  gather->offsets = rows;
  return gather;
}

AttentionTerm swin_bias_term(const SwinBias& bias, std::shared_ptr<const OffsetMap> gather) {
  const Shape& shape = bias.table.shape();
  const std::int64_t rows = checked_rows(bias.window);
  if (shape.rank() != 2 || shape[0] != rows)
    fail(kSwinBiasName, "a table of shape {} does not belong to a {}x{} window: {} rows were expected",
         shape.str(), bias.window.rows, bias.window.columns, rows);
  check_table(kSwinBiasName, SwinBias::kTable, bias.table, {rows, shape[1]});
  return gather_term(bias.table, std::move(gather));
}

}  // namespace locant
