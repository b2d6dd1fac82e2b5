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

namespace {

Window window_of(const EncodingCase& c) { return {c.query.rows, c.query.columns}; }

EncodingInstance instance(const EncodingCase& c) {
  const Window w = window_of(c);
  const Var table = random_parameter({swin_table_rows(w), c.H}, c.seed);
  AttentionOptions options;
  options.heads = c.H;
  options.terms = {swin_bias_term({w, table}, swin_gather(w, w))};
  EncodingInstance out;
  out.parameters = {{SwinBias::kTable, table}};
  out.run = [options](const Context& ctx, const Var& q, const Var& k, const Var& v, AttentionPath path) {
    return run_attention(ctx, q, k, v, options, path);
  };
  out.reference = [c, w](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
      const T qk = call.dot(b, h, i, j) / std::sqrt(static_cast<double>(c.D));
      return swin_bias_score<T>(qk, x[3], c.H, h, w, i, j);
    });
  };
  return out;
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out;
  for (const Grid grid : {Grid{1, 1, 1}, Grid{1, 2, 1}, Grid{1, 3, 3}, Grid{1, 2, 5}, Grid{1, 6, 3}})
    out.push_back({.B = 2, .query = grid, .key = grid});
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < c.Nq(); ++i)
    for (std::int64_t j = 0; j < c.Nk(); ++j) out.push_back(swin_index(window_of(c), i, j));
  return out;
}

}  // namespace

const Encoding kSwinBias = {
    .name = "swin_bias",
    .header = "position/swin_bias.h",
    .title = "a learned number per head and displacement within a window",
    .place = EncodingPlace::score,
    .paper = "Liu et al. 2021, Swin Transformer, equation 4",
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
