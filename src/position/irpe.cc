#include "position/irpe.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {

constexpr const char* kIrpeName = "irpe";

int parts_of(const IrpeForm& form) { return form.method == IrpeMethod::cross ? 2 : 1; }

void check(const IrpeForm& form) {
  const auto [alpha, beta, gamma] = form.bins;
  constexpr double kMostBins = 1 << 13;  // buckets of two tables run to the square of one's
  require(alpha > 0 && beta >= alpha && gamma > alpha && beta <= kMostBins && std::isfinite(gamma), kIrpeName,
          "bins of alpha {}, beta {}, gamma {}; they must be 0 < alpha <= beta <= {} and alpha < gamma",
          alpha, beta, gamma, kMostBins);
}

// bucket(off_y, off_x) for pairs of grid tokens, `skipped`, the last, for the others. Rows are numbered anew,
// without those that nobody reads: euclidean and quantised never reach half of their tables.
template <class Bucket>
IrpeLookup lookup_of(const IrpeGrid& grid, std::int64_t skipped, const Bucket& bucket) {
  const Grid plane{1, grid.rows, grid.columns};
  const PrefixRows front{grid.skip, skipped, skipped, skipped};
  auto gather = std::make_shared<OffsetMap>(
      *grid_gather(kIrpeName, plane, plane, skipped + 1, front, 1,
                   [&](std::int64_t, std::int64_t y, std::int64_t x) { return bucket(y, x); }));
  IrpeLookup out;
  out.buckets = gather->map;
  if (gather->map.empty()) {  // the identity: every offset has a bucket of its own
    out.buckets.resize(static_cast<std::size_t>(gather->offsets));
    std::iota(out.buckets.begin(), out.buckets.end(), 0);
  }
  std::sort(out.buckets.begin(), out.buckets.end());
  out.buckets.erase(std::unique(out.buckets.begin(), out.buckets.end()), out.buckets.end());
  for (std::int32_t& row : gather->map)
    row = static_cast<std::int32_t>(std::lower_bound(out.buckets.begin(), out.buckets.end(), row) -
                                    out.buckets.begin());
  out.gather = std::move(gather);
  return out;
}

// Values have one table a call: for cross, that of every pair of a row bucket and a column bucket in use.
IrpeLookup cross_values(const IrpeForm& form, const IrpeGrid& grid) {
  const std::int64_t rows = irpe_buckets(form.method, form.bins, grid.skip);
  IrpeLookup out = lookup_of(grid, rows * rows - 1, [&](std::int64_t y, std::int64_t x) {
    return irpe_bucket(form.method, form.bins, 0, y, x) * rows + irpe_bucket(form.method, form.bins, 1, y, x);
  });
  for (std::int32_t& pair : out.buckets) {
    out.columns.push_back(static_cast<std::int32_t>(pair % rows));
    pair = static_cast<std::int32_t>(pair / rows);
  }
  return out;
}

// Rows `buckets` of a table (rows, ...).
Var pick(const Context& ctx, const Var& table, const std::vector<std::int32_t>& buckets) {
  if (static_cast<std::int64_t>(buckets.size()) == table.dim(0)) return table;  // ascending: all of them
  return gather_rows(ctx, table, buckets);
}

// What a term on the queries or keys x reads: numbers, or nothing where the mode has none.
AttentionTerm make_term(const Context& ctx, const IrpeForm& form, const Var& table, const IrpeLookup& lookup,
                        Side side, const Var& x, const AttentionOptions& options) {
  const std::int64_t H = options.heads, D = x.dim(2) / H, tables = table.dim(0);
  const auto rows = static_cast<std::int64_t>(lookup.buckets.size());
  if (form.mode == IrpeMode::bias) {
    const Var numbers = pick(ctx, permute(ctx, table, {1, 0}), lookup.buckets);  // (rows, 1 or H)
    return gather_term(tables == H ? numbers : multiply(ctx, numbers, Var(Tensor::full({1, H}, 1.0f))),
                       lookup.gather);
  }
  const Var vectors = pick(ctx, permute(ctx, table, {2, 0, 1}), lookup.buckets);  // (rows, 1 or H, D)
  const float scale = attention_scale(options.scale, D);
  return bucket_term(
      side,
      head_products(ctx, x, H,
                    tables == 1 ? reshape(ctx, vectors, {rows, D}) : permute(ctx, vectors, {1, 0, 2}), scale),
      lookup.gather);
}

AttentionValueTerm make_value_term(const Context& ctx, const IrpeTables& tables, const IrpeLookup& lookup) {
  const auto vectors = [&](const Var& table, const std::vector<std::int32_t>& rows) {
    return gather_rows(ctx, permute(ctx, table, {1, 0, 2}), rows);  // (rows, 1 or H, Dv)
  };
  Var sum = vectors(tables[0], lookup.buckets);
  if (!lookup.columns.empty()) sum = add(ctx, sum, vectors(tables[1], lookup.columns));
  return {sum.dim(1) == 1 ? reshape(ctx, sum, {sum.dim(0), sum.dim(2)}) : permute(ctx, sum, {1, 0, 2}),
          lookup.gather};
}

// The side's tables are there, all with one shape and finite numbers; false: there are none.
bool check_tables(const IrpeMaps& maps, const IrpeTables& tables, char side, std::int64_t H,
                  std::int64_t width) {
  if (!tables[0].defined() && !tables[1].defined()) return false;
  require(side != 'v' || maps.form.mode == IrpeMode::contextual, kIrpeName, "bias mode has no table on v");
  for (int part = 0; part < parts_of(maps.form); ++part) {
    const Var& table = tables[static_cast<std::size_t>(part)];
    const std::string name = irpe_name(maps.form, side, part);
    const bool per_head = table.defined() && table.shape().rank() >= 1 && table.dim(0) != 1;
    const Shape shape = irpe_shape(maps.form, side, per_head ? H : 1, width, maps.grid.skip);
    check_table(kIrpeName, name, table, shape);
    if (part == 1 && table.shape() != tables[0].shape())
      fail(kIrpeName, "{} has the shape {}, but that of the rows {}", name, shape.str(),
           tables[0].shape().str());
  }
  return true;
}

}  // namespace

std::string irpe_name(const IrpeForm& form, char side, int part) {
  const char* of = form.method != IrpeMethod::cross ? "" : part == 0 ? "rp_rows." : "rp_cols.";
  return fmt::format("rpe_{}.{}lookup_table_{}", side, of, form.mode == IrpeMode::bias ? "bias" : "weight");
}

Shape irpe_shape(const IrpeForm& form, char side, std::int64_t tables, std::int64_t width,
                 std::int64_t skip) {
  const std::int64_t buckets = irpe_buckets(form.method, form.bins, skip);
  if (form.mode == IrpeMode::bias) return {tables, buckets};
  return side == 'v' ? Shape{tables, buckets, width} : Shape{tables, width, buckets};
}

IrpeMaps irpe_maps(const IrpeForm& form, const IrpeGrid& grid) {
  check(form);
  IrpeMaps out{.form = form, .grid = grid};
  const std::int64_t skipped = irpe_buckets(form.method, form.bins, grid.skip) - 1;
  for (int part = 0; part < parts_of(form); ++part) {
    const auto bucket = [&](std::int64_t y, std::int64_t x) {
      return irpe_bucket(form.method, form.bins, part, y, x);
    };
    const auto at = static_cast<std::size_t>(part);
    out.on_k[at] = lookup_of(grid, skipped, bucket);
    // Looked up in the key's row: the offset is key minus query there.
    out.on_q[at] = lookup_of(grid, skipped, [&](std::int64_t y, std::int64_t x) { return bucket(-y, -x); });
  }
  out.on_v = form.method == IrpeMethod::cross ? cross_values(form, grid) : out.on_k[0];
  return out;
}

void add_irpe(const Context& ctx, const Irpe& irpe, const IrpeMaps& maps, const Var& q, const Var& k,
              std::int64_t Dv, AttentionOptions& options) {
  const std::int64_t H = options.heads, N = maps.grid.tokens();
  for (const Var* x : {&q, &k})
    if (x->shape().rank() != 3 || x->dim(1) != N || H < 1 || x->dim(2) % H != 0)
      fail(kIrpeName,
           "q {} and k {} do not fit; they must be (B, {} tokens of {} x {} behind {}, {} heads * D)",
           q.shape().str(), k.shape().str(), N, maps.grid.rows, maps.grid.columns, maps.grid.skip, H);
  const std::int64_t D = q.dim(2) / H;
  const auto parts = static_cast<std::size_t>(parts_of(maps.form));
  if (check_tables(maps, irpe.on_k, 'k', H, D))
    for (std::size_t part = 0; part < parts; ++part)
      options.terms.push_back(
          make_term(ctx, maps.form, irpe.on_k[part], maps.on_k[part], Side::query, q, options));
  if (check_tables(maps, irpe.on_q, 'q', H, D))
    for (std::size_t part = 0; part < parts; ++part)
      options.terms.push_back(
          make_term(ctx, maps.form, irpe.on_q[part], maps.on_q[part], Side::key, k, options));
  if (check_tables(maps, irpe.on_v, 'v', H, Dv))
    options.value_term = make_value_term(ctx, irpe.on_v, maps.on_v);
}

}  // namespace locant
