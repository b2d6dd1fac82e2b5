#include "position/beit_bias.h"

#include <cmath>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "position/grid_gather.h"
#include "position/score_instance.h"
#include "position/sequence.h"
#include "position/spline.h"

namespace locant {
namespace {

constexpr const char* kName = "beit_bias";

void check_grid(Window grid) {
  require(grid.rows >= 1 && grid.columns >= 1 && grid.rows <= 512 && grid.columns <= 512, kName,
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
  require(from >= 1 && to >= 1 && from % 2 == 1 && to % 2 == 1 && from < 1024 && to < 1024, kName,
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
    fail(kName, "a table of shape {} does not belong to a {}x{} grid: {} rows were expected",
         table.shape().str(), from.rows, from.columns, patches + 3);
  if (from == to) return table;
  const std::int64_t H = table.dim(1), rows = 2 * from.rows - 1, columns = 2 * from.columns - 1;
  Var grid = reshape(ctx, slice_axis(ctx, table, 0, 0, patches), {rows, columns, H});
  grid = permute(ctx, grid, {2, 0, 1});
  if (from.rows != to.rows) grid = product(ctx, axis_weights(from.rows, to.rows, rule), grid);
  if (from.columns != to.columns)
    grid = product(ctx, grid, axis_weights(from.columns, to.columns, rule), {.transpose_b = true});
  grid = reshape(ctx, permute(ctx, grid, {1, 2, 0}), {swin_table_rows(to), H});
  return concat_axis(ctx, {grid, slice_axis(ctx, table, 0, patches, patches + 3)}, 0);
}

std::shared_ptr<const GatherMap> beit_gather(Window grid, std::int64_t prefix) {
  check_grid(grid);
  const std::int64_t patches = swin_table_rows(grid);
  const Grid g{1, grid.rows, grid.columns};
  return displacement_gather(kName, g, patches + 3, {prefix, patches, patches + 1, patches + 2});
}

AttentionTerm beit_bias_term(const BeitBias& bias, std::int64_t heads, std::int64_t prefix) {
  check_grid(bias.grid);
  check_table(kName, BeitBias::kTable, bias.table, {beit_table_rows(bias.grid), heads});
  return gather_term(bias.table, beit_gather(bias.grid, prefix));
}

namespace {

Window grid_of(const EncodingCase& c) {
  check_one_grid(kName, c);
  require(c.variant.empty(), kName, "unknown variant \"{}\"; there is none", c.variant);
  return {c.query.rows, c.query.columns};
}

EncodingInstance instance(const EncodingCase& c) {
  const Window grid = grid_of(c);
  const BeitBias bias{grid, random_parameter({beit_table_rows(grid), c.H}, c.seed)};
  return score_instance(
      c, {{BeitBias::kTable, bias.table}},
      [c, bias](const Context&, AttentionOptions& options) {
        options.terms = {beit_bias_term(bias, c.H, c.prefix)};
      },
      [c, grid](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        return beit_bias_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(c.D)), x[3].data(), c.H,
                               h, grid, std::max<std::int64_t>(i - c.prefix, -1),
                               std::max<std::int64_t>(j - c.prefix, -1));
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 1, 2}, Grid{1, 2, 2}, Grid{1, 3, 3}, Grid{1, 5, 2}})
    out.push_back({.B = grid.tokens() > 5 ? 1 : 2, .query = grid, .key = grid, .prefix = 1});
  out.push_back({.H = 3, .D = 1, .Dv = 3, .query = {1, 3, 4}, .key = {1, 3, 4}, .prefix = 2});
  out.push_back({.Dv = 3, .query = {1, 2, 3}, .key = {1, 2, 3}});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const auto token = [&](std::int64_t n) { return std::max<std::int64_t>(n - c.prefix + 1, 0); };
  return index_matrix(c, [&](auto i, auto j) { return beit_index(grid_of(c), token(i), token(j)); });
}

}  // namespace

const Encoding kBeitBias = {
    .name = kName,
    .header = "position/beit_bias.h",
    .title = "Swin's bias over the whole image, with rows of its own for the class token",
    .place = EncodingPlace::score,
    .paper = "Bao et al. 2022, BEiT",
    .models = "BEiT, BEiT v2, data2vec",
    .formula = "s = q.k / sqrt(D) + T[I(i, j), h]",
    .lowering = "gather term",
    .parameters = "((2h - 1)(2w - 1) + 3) H",
    .multiply_adds = "0",
    .memory = "((2h - 1)(2w - 1) + 3) H",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
