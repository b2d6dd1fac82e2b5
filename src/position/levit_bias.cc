#include "position/levit_bias.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "ops/resize.h"
#include "position/grid_gather.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {

constexpr const char* kName = "levit_bias";

void check_grid(Window grid) {
  require(grid.rows >= 1 && grid.columns >= 1 && grid.rows <= 4096 && grid.columns <= 4096, kName,
          "a key grid of {}x{}; sides of 1 to 4096 were expected", grid.rows, grid.columns);
}

}  // namespace

Var resize_levit_bias(const Context& ctx, const Var& table, Window from, Window to) {
  check_grid(from);
  check_grid(to);
  if (table.shape().rank() != 2 || table.dim(1) != from.tokens())
    fail(kName, "biases of shape {} do not belong to a {}x{} grid: {} a head were expected",
         table.shape().str(), from.rows, from.columns, from.tokens());
  if (from == to) return table;
  const std::int64_t H = table.dim(0);
  const Var grid = reshape(ctx, table, {H, from.rows, from.columns, 1});
  return reshape(ctx, resize(ctx, grid, to.rows, to.columns, ResizeRule::bicubic), {H, to.tokens()});
}

std::shared_ptr<const GatherMap> levit_gather(Window key, std::int64_t step) {
  check_grid(key);
  require(step >= 1 && step <= 4096, kName, "queries on every {}-th place; that must be 1 to 4096", step);
  const Grid query{1, levit_query_side(key.rows, step), levit_query_side(key.columns, step)};
  return grid_gather(kName, query, {1, key.rows, key.columns}, key.tokens(), {}, step,
                     [key](auto, auto dr, auto dc) { return levit_row(key, dr, dc); });
}

AttentionTerm levit_bias_term(const Context& ctx, const LevitBias& bias, std::int64_t heads,
                              std::int64_t step) {
  check_grid(bias.key);
  check_table(kName, LevitBias::kTable, bias.table, {heads, bias.key.tokens()});
  return gather_term(permute(ctx, bias.table, {1, 0}), levit_gather(bias.key, step));
}

namespace {

std::int64_t step_of(const EncodingCase& c) {
  require(c.variant.empty() || c.variant == "subsample", kName, "unknown variant \"{}\"; there is subsample",
          c.variant);
  const std::int64_t step = c.variant.empty() ? 1 : 2;
  require(c.query.frames == 1 && c.key.frames == 1 && c.prefix == 0 &&
              c.query.rows == levit_query_side(c.key.rows, step) &&
              c.query.columns == levit_query_side(c.key.columns, step),
          kName, "queries on a grid of {}x{} do not stand on every {}-th place of {}x{} keys", c.query.rows,
          c.query.columns, step, c.key.rows, c.key.columns);
  return step;
}

EncodingInstance instance(const EncodingCase& c) {
  const std::int64_t step = step_of(c);
  const Window key{c.key.rows, c.key.columns};
  const LevitBias bias{key, random_parameter({c.H, key.tokens()}, c.seed)};
  return score_instance(
      c, {{LevitBias::kTable, bias.table}},
      [c, bias, step](const Context& ctx, AttentionOptions& options) {
        options.terms = {levit_bias_term(ctx, bias, c.H, step)};
      },
      [c, key, step](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        return levit_bias_score(call.dot(b, h, i, j) / std::sqrt(static_cast<double>(c.D)), x[3].data(), h,
                                key, i / c.query.columns * step, i % c.query.columns * step, j);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 2, 1}, Grid{1, 3, 3}, Grid{1, 2, 5}})
    out.push_back({.B = 2, .Dv = 8, .query = grid, .key = grid});
  for (const auto& [query, key] : {std::pair{Grid{1, 2, 2}, Grid{1, 4, 4}},
                                   {Grid{1, 3, 2}, Grid{1, 5, 3}},
                                   {Grid{1, 1, 1}, Grid{1, 1, 2}}})
    out.push_back({.B = 2, .Dv = 7, .query = query, .key = key, .variant = "subsample"});
  out.push_back({.H = 3, .D = 1, .query = {1, 2, 4}, .key = {1, 4, 7}, .variant = "subsample"});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const std::int64_t step = step_of(c);
  return index_matrix(c, [&](auto i, auto j) {
    return levit_index({c.key.rows, c.key.columns}, c.query.columns, step, i, j);
  });
}

}  // namespace

const Encoding kLevitBias = {
    .name = kName,
    .header = "position/levit_bias.h",
    .title = "a learned number per head and absolute displacement",
    .place = EncodingPlace::score,
    .paper = "Graham et al. 2021, LeViT",
    .models = "LeViT, TinyViT, MobileSAM",
    .formula = "s = q.k / sqrt(D) + A[h, |dr| w + |dc|]",
    .lowering = "gather term",
    .parameters = "h w H",
    .multiply_adds = "0",
    .memory = "h w H",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
