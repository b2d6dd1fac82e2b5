#include "position/beit_bias.h"

#include <cmath>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"
#include "position/shared/spline.h"

namespace locant {
namespace {

constexpr const char* kBeitBiasName = "beit_bias";

void check_grid(Window grid) {
  require(grid.rows >= 1 && grid.columns >= 1 && grid.rows <= 512 && grid.columns <= 512, kBeitBiasName,
          "a grid of {}x{} patches; sides of 1 to 512 were expected", grid.rows, grid.columns);
}

/// (2 to - 1, 2 from - 1): one axis of the resized table from the old one.
Var axis_weights(std::int64_t from, std::int64_t to, BeitResize rule) {
  const std::int64_t rows = 2 * to - 1, columns = 2 * from - 1;
  std::vector<double> points;
  for (std::int64_t p = -(rows / 2); p <= rows / 2; ++p) points.push_back(static_cast<double>(p));
  const std::vector<double> source = beit_resize_coordinates(columns, rows);
  const std::vector<double> weights =
      rule == BeitResize::cubic ? cubic_spline_weights(source, points) : linear_weights(source, points);
  Tensor out({rows, columns});
  for (std::int64_t n = 0; n < out.numel(); ++n)
    out[n] = static_cast<float>(weights[static_cast<std::size_t>(n)]);
  return Var(out);
}

}  // namespace

double beit_resize_ratio(std::int64_t from, std::int64_t to) {
  const auto terms = static_cast<double>(from / 2), reach = static_cast<double>(to / 2);
  double left = 1.01, right = 1.5, q = right;
  while (right - left > 1e-6) {
    q = (left + right) / 2;
    const double sum = (1 - std::pow(q, terms)) / (1 - q);
    (sum > reach ? right : left) = q;
  }
  return q;
}

std::vector<double> beit_resize_coordinates(std::int64_t from, std::int64_t to) {
  require(from >= 1 && to >= 1 && from % 2 == 1 && to % 2 == 1 && from < 1024 && to < 1024, kBeitBiasName,
          "sides {} and {} of a table of displacements; they must be odd and below 1,024", from, to);
  const double q = beit_resize_ratio(from, to);
  std::vector<double> right;
  double at = 1;
  for (std::int64_t k = 1; k <= from / 2; ++k) {
    right.push_back(at);
    at += std::pow(q, static_cast<double>(k));
  }
  std::vector<double> out;
  for (auto d = right.rbegin(); d != right.rend(); ++d) out.push_back(-*d);
  out.push_back(0);
  out.insert(out.end(), right.begin(), right.end());
  return out;
}

Var resize_beit_bias(const Context& ctx, const Var& table, Window from, Window to, BeitResize rule) {
  check_grid(from);
  check_grid(to);
  const std::int64_t patches = swin_table_rows(from);
  if (table.shape().rank() != 2 || table.dim(0) != patches + 3)
    fail(kBeitBiasName, "a table of shape {} does not belong to a {}x{} grid: {} rows were expected",
         table.shape().str(), from.rows, from.columns, patches + 3);
  const bool even = rule == BeitResize::bilinear;
  if (from == to && (!even || from.rows == from.columns)) return table;
  const std::int64_t H = table.dim(1), rows = 2 * from.rows - 1, columns = 2 * from.columns - 1;
  Var grid = slice_axis(ctx, table, 0, 0, patches);
  if (even) {
    grid = resize(ctx, reshape(ctx, grid, {1, columns, rows, H}), 2 * to.rows - 1, 2 * to.columns - 1,
                  ResizeRule::bilinear);
  } else {
    grid = permute(ctx, reshape(ctx, grid, {rows, columns, H}), {2, 0, 1});
    if (from.rows != to.rows) grid = product(ctx, axis_weights(from.rows, to.rows, rule), grid);
    if (from.columns != to.columns)
      grid = product(ctx, grid, axis_weights(from.columns, to.columns, rule), {.transpose_b = true});
    grid = permute(ctx, grid, {1, 2, 0});
  }
  grid = reshape(ctx, grid, {swin_table_rows(to), H});
  return concat_axis(ctx, {grid, slice_axis(ctx, table, 0, patches, patches + 3)}, 0);
}

std::shared_ptr<const OffsetMap> beit_gather(Window grid, std::int64_t prefix) {
  check_grid(grid);
  const std::int64_t patches = swin_table_rows(grid);
  const Grid g{1, grid.rows, grid.columns};
  return displacement_gather(kBeitBiasName, g, patches + 3, {prefix, patches, patches + 1, patches + 2});
}

AttentionTerm beit_bias_term(const BeitBias& bias, std::int64_t heads, std::int64_t prefix) {
  check_grid(bias.grid);
  check_table(kBeitBiasName, BeitBias::kTable, bias.table, {beit_table_rows(bias.grid), heads});
  return gather_term(bias.table, beit_gather(bias.grid, prefix));
}

}  // namespace locant
