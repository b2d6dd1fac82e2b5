#include "position/swin_bias.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/resize.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {
namespace {

constexpr const char* kName = "swin_bias";

// Rows of the table of a window, which must not be empty or too large to count.
std::int64_t checked_rows(Window w) {
  const Grid grid{1, w.rows, w.columns};
  return grid_displacements(kName, grid, grid);
}

}  // namespace

Var resize_swin_bias(const Context& ctx, const Var& table, Window from, Window to) {
  const Shape& shape = table.shape();
  const std::int64_t rows = checked_rows(from), new_rows = checked_rows(to);
  if (shape.rank() != 2 || shape[0] != rows)
    fail(kName, "a table of shape {} does not belong to a {}x{} window: {} rows were expected", shape.str(),
         from.rows, from.columns, rows);
  if (from == to) return table;
  const std::int64_t heads = shape[1];
  const Var grid = reshape(ctx, table, {1, 2 * from.rows - 1, 2 * from.columns - 1, heads});
  const Var resized = resize(ctx, grid, 2 * to.rows - 1, 2 * to.columns - 1, ResizeRule::bicubic);
  return reshape(ctx, resized, {new_rows, heads});
}

std::shared_ptr<const GatherMap> swin_gather(Window table, Window w) {
  const std::int64_t rows = checked_rows(table);
  if (w.rows < 1 || w.columns < 1 || w.rows > table.rows || w.columns > table.columns)
    fail(kName, "a {}x{} window does not fit a table made for {}x{}", w.rows, w.columns, table.rows,
         table.columns);
  auto gather = std::make_shared<GatherMap>();
  for (std::int64_t i = 0; i < w.tokens(); ++i)
    gather->query_code.push_back(static_cast<std::int32_t>(swin_code(table, w, i)));
  gather->key_code = gather->query_code;
  gather->origin = static_cast<std::int32_t>(swin_origin(table));
  gather->offsets = rows;
  return gather;
}

AttentionTerm swin_bias_term(const SwinBias& bias, std::shared_ptr<const GatherMap> gather) {
  const Shape& shape = bias.table.shape();
  const std::int64_t rows = checked_rows(bias.window);
  if (shape.rank() != 2 || shape[0] != rows)
    fail(kName, "a table of shape {} does not belong to a {}x{} window: {} rows were expected", shape.str(),
         bias.window.rows, bias.window.columns, rows);
  check_table(kName, SwinBias::kTable, bias.table, {rows, shape[1]});
  return gather_term(bias.table, std::move(gather));
}

namespace {

Window window_of(const EncodingCase& c) {
  check_one_grid(kName, c);
  check_no_prefix(kName, c);
  require(c.variant.empty(), kName, "unknown variant \"{}\"; there is none", c.variant);
  return {c.query.rows, c.query.columns};
}

EncodingInstance instance(const EncodingCase& c) {
  const Window w = window_of(c);
  const Var table = random_parameter({checked_rows(w), c.H}, c.seed);
  const auto gather = swin_gather(w, w);
  return score_instance(
      c, {{SwinBias::kTable, table}},
      [=](const Context&, AttentionOptions& options) {
        options.terms = {swin_bias_term({w, table}, gather)};
      },
      [w](const auto& call, const auto& x, auto b, auto h, auto i, auto j) {
        const auto qk = call.dot(b, h, i, j) / std::sqrt(static_cast<double>(call.c.D));
        return swin_bias_score<std::complex<double>>(qk, x[3], call.c.H, h, w, i, j);
      });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 2, 1}, Grid{1, 3, 3}, Grid{1, 2, 5}, Grid{1, 6, 3}})
    out.push_back({.B = 2, .query = grid, .key = grid});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Window w = window_of(c);
  return index_matrix(c, [w](auto i, auto j) { return swin_index(w, i, j); });
}

}  // namespace

const Encoding kSwinBias = {
    .name = kName,
    .header = "position/swin_bias.h",
    .title = "a learned number per head and displacement within a window",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2021, Swin Transformer",
    .models = "Swin",
    .formula = "s = q.k / sqrt(D) + T[I(i, j), h]",
    .lowering = "gather term",
    .parameters = "(2h - 1)(2w - 1) H",
    .multiply_adds = "0",
    .memory = "(2h - 1)(2w - 1) H",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
