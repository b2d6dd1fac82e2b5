#include "position/swin_bias.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/resize.h"

namespace locant {

Var resize_swin_bias(const Context& ctx, const Var& table, Window from, Window to) {
  const Shape& shape = table.shape();
  if (shape.rank() != 2 || shape[0] != swin_table_rows(from))
    fail("swin_bias", "a table of shape {} does not belong to a {}x{} window: {} rows were expected",
         shape.str(), from.rows, from.columns, swin_table_rows(from));
  require(to.rows > 0 && to.columns > 0, "swin_bias", "window {}x{} is empty", to.rows, to.columns);
  if (from == to) return table;
  const std::int64_t heads = shape[1];
  const Var grid = reshape(ctx, table, {1, 2 * from.rows - 1, 2 * from.columns - 1, heads});
  const Var resized = resize(ctx, grid, 2 * to.rows - 1, 2 * to.columns - 1, ResizeRule::bicubic);
  return reshape(ctx, resized, {swin_table_rows(to), heads});
}

std::shared_ptr<const GatherMap> swin_gather(Window table, Window w) {
  if (w.rows < 1 || w.columns < 1 || w.rows > table.rows || w.columns > table.columns)
    fail("swin_bias", "a {}x{} window does not fit a table made for {}x{}", w.rows, w.columns, table.rows,
         table.columns);
  auto gather = std::make_shared<GatherMap>();
  for (std::int64_t i = 0; i < w.tokens(); ++i)
    gather->query_code.push_back(static_cast<std::int32_t>(swin_code(table, w, i)));
  gather->key_code = gather->query_code;
  gather->origin = static_cast<std::int32_t>(swin_origin(table));
  gather->offsets = swin_table_rows(table);
  return gather;
}

AttentionTerm swin_bias_term(const SwinBias& bias, std::shared_ptr<const GatherMap> gather) {
  const Shape& shape = bias.table.shape();
  if (shape.rank() != 2 || shape[0] != swin_table_rows(bias.window))
    fail("swin_bias", "a table of shape {} does not belong to a {}x{} window: {} rows were expected",
         shape.str(), bias.window.rows, bias.window.columns, swin_table_rows(bias.window));
  return gather_term(bias.table, std::move(gather));
}

}  // namespace locant
