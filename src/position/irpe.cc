#include "position/irpe.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "ops/arithmetic.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "ops/product.h"
#include "ops/rearrange.h"

namespace locant {

namespace {

constexpr const char* kName = "irpe";

int parts_of(const IrpeForm& form) { return form.method == IrpeMethod::cross ? 2 : 1; }

void check(const IrpeForm& form, const IrpeGrid& grid) {
  const auto [alpha, beta, gamma] = form.bins;
  // Codes run to four grids, and buckets of two tables to the square of one's.
  constexpr std::int64_t kMostSide = 1 << 13;
  constexpr double kMostBins = 1 << 13;
  require(alpha > 0 && beta >= alpha && gamma > alpha && beta <= kMostBins && std::isfinite(gamma), kName,
          "bins of alpha {}, beta {}, gamma {}; they must be 0 < alpha <= beta <= {} and alpha < gamma",
          alpha, beta, gamma, kMostBins);
  require(grid.rows >= 1 && grid.columns >= 1 && grid.skip >= 0 && grid.rows <= kMostSide &&
              grid.columns <= kMostSide && grid.skip <= kMostSide,
          kName, "a grid of {} x {} behind {} tokens; sides must be 1 to {}, and no fewer than 0 before it",
          grid.rows, grid.columns, grid.skip, kMostSide);
}

// Codes of the tokens: a grid token's is row (2 columns - 1) + column, so that differences are offsets.
// Tokens in front get codes that put every pair with them behind the G offsets of the grid.
GatherMap codes_of(const IrpeGrid& grid) {
  const std::int64_t width = 2 * grid.columns - 1, G = (2 * grid.rows - 1) * width;
  const std::int64_t origin = (grid.rows - 1) * width + grid.columns - 1;  // (G - 1) / 2
  GatherMap out;
  out.query_code.assign(static_cast<std::size_t>(grid.skip), static_cast<std::int32_t>(G));
  out.key_code.assign(static_cast<std::size_t>(grid.skip), static_cast<std::int32_t>(-origin - 1));
  for (std::int64_t y = 0; y < grid.rows; ++y)
    for (std::int64_t x = 0; x < grid.columns; ++x) {
      out.query_code.push_back(static_cast<std::int32_t>(y * width + x));
      out.key_code.push_back(static_cast<std::int32_t>(y * width + x));
    }
  out.origin = static_cast<std::int32_t>(origin);
  out.offsets = grid.skip > 0 ? 2 * G + 1 : G;
  return out;
}

// bucket(off_y, off_x) for pairs of grid tokens, `skipped` for the others. Rows are numbered anew, without
// those that nobody reads: euclidean and quantised never reach half of their tables.
template <class Bucket>
IrpeLookup lookup_of(const IrpeGrid& grid, std::int64_t skipped, const Bucket& bucket) {
  auto gather = std::make_shared<GatherMap>(codes_of(grid));
  gather->map.reserve(static_cast<std::size_t>(gather->offsets));
  for (std::int64_t y = 1 - grid.rows; y < grid.rows; ++y)
    for (std::int64_t x = 1 - grid.columns; x < grid.columns; ++x)
      gather->map.push_back(static_cast<std::int32_t>(bucket(y, x)));
  gather->map.resize(static_cast<std::size_t>(gather->offsets), static_cast<std::int32_t>(skipped));
  IrpeLookup out;
  out.buckets = gather->map;
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
  const float scale = options.scale != 0.0f ? options.scale : 1.0f / std::sqrt(static_cast<float>(D));
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
  require(side != 'v' || maps.form.mode == IrpeMode::contextual, kName, "bias mode has no table on v");
  for (int part = 0; part < parts_of(maps.form); ++part) {
    const Var& table = tables[static_cast<std::size_t>(part)];
    const std::string name = irpe_name(maps.form, side, part);
    const bool per_head = table.defined() && table.shape().rank() >= 1 && table.dim(0) != 1;
    const Shape shape = irpe_shape(maps.form, side, per_head ? H : 1, width, maps.grid.skip);
    if (!table.defined()) fail(kName, "{} is missing; the shape {} was expected", name, shape.str());
    if (table.shape() != shape)
      fail(kName, "{} has the shape {}; {} was expected ({} heads, or 1 shared by them)", name,
           table.shape().str(), shape.str(), H);
    if (part == 1 && table.shape() != tables[0].shape())
      fail(kName, "{} has the shape {}, but that of the rows {}", name, shape.str(), tables[0].shape().str());
    for (const float x : table.value().values())
      if (!std::isfinite(x)) fail(kName, "{} of shape {} holds {}", name, shape.str(), x);
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
  check(form, grid);
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
      fail(kName, "q {} and k {} do not fit; they must be (B, {} tokens of {} x {} behind {}, {} heads * D)",
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
