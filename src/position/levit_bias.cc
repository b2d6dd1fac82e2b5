#include "position/levit_bias.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kLevitBiasName = "levit_bias";

void check_levit_grid(Window grid) {
  require(grid.rows >= 1 && grid.columns >= 1 && grid.rows <= 4096 && grid.columns <= 4096, kLevitBiasName,
          "a key grid of {}x{}; sides of 1 to 4096 were expected", grid.rows, grid.columns);
}

}  // namespace

Var resize_levit_bias(const Context& ctx, const Var& table, Window from, Window to) {
  check_levit_grid(from);
  check_levit_grid(to);
  if (table.shape().rank() != 2 || table.dim(1) != from.tokens())
    fail(kLevitBiasName, "biases of shape {} do not belong to a {}x{} grid: {} a head were expected",
         table.shape().str(), from.rows, from.columns, from.tokens());
  if (from == to) return table;
  const std::int64_t H = table.dim(0);
  const Var grid = reshape(ctx, table, {H, from.rows, from.columns, 1});
  return reshape(ctx, resize(ctx, grid, to.rows, to.columns, ResizeRule::bicubic), {H, to.tokens()});
}

std::shared_ptr<const OffsetMap> levit_gather(Window key, std::int64_t step) {
  check_levit_grid(key);
  require(step >= 1 && step <= 4096, kLevitBiasName, "queries on every {}-th place; that must be 1 to 4096",
          step);
  const Grid query{1, levit_query_side(key.rows, step), levit_query_side(key.columns, step)};
  return grid_gather(kLevitBiasName, query, {1, key.rows, key.columns}, key.tokens(), {}, step,
                     [key](auto, auto dr, auto dc) { return levit_row(key, dr, dc); });
}

AttentionTerm levit_bias_term(const Context& ctx, const LevitBias& bias, std::int64_t heads,
                              std::int64_t step) {
  check_levit_grid(bias.key);
  check_table(kLevitBiasName, LevitBias::kTable, bias.table, {heads, bias.key.tokens()});
  return gather_term(permute(ctx, bias.table, {1, 0}), levit_gather(bias.key, step));
}

}  // namespace locant
