#include "position/relative_logits.h"

#include <algorithm>

#include "core/error.h"
#include "position/grid_gather.h"
#include "position/local_reference.h"
#include "position/score_instance.h"

namespace locant {

namespace {
constexpr const char* kName = "relative_logits";
constexpr std::int64_t kBlock = 2, kHalo = 1;  // of the cases
}  // namespace

AxisIndices relative_logits_indices(const Grid& grid) {
  check_grid(kName, grid, "the grid");
  require(grid.frames == 1, kName, "{} frames; the tables are of rows and columns", grid.frames);
  const auto of = [&](GridAxis axis) {
    const std::int64_t K = extent_of(grid, axis);
    return make_axis_index(grid_places(grid, axis), K, K,
                           [&](std::int64_t a, std::int64_t b) { return relative_logits_row(K, a, b); });
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AxisIndices absolute_logits_indices(const Grid& grid) {
  check_grid(kName, grid, "the grid");
  require(grid.frames == 1, kName, "{} frames; the tables are of rows and columns", grid.frames);
  const auto of = [&](std::int64_t K) {  // every query meets the same vectors
    return make_axis_index(std::vector<std::int32_t>(static_cast<std::size_t>(grid.tokens())), 1, K,
                           [](std::int64_t, std::int64_t b) { return b; });
  };
  return {nullptr, of(grid.rows), of(grid.columns), 0};
}

std::shared_ptr<const RowMaps> halo_rows(const Grid& grid, std::int64_t block, std::int64_t halo) {
  return std::make_shared<RowMaps>(block_rows(kName, grid, {1, block, block}, {halo, halo, halo, halo}));
}

AxisIndices halo_indices(const RowMaps& maps, std::int64_t tokens, std::int64_t block, std::int64_t halo) {
  constexpr std::int64_t kMost = std::int64_t{1} << 20;  // whose squares are still numbers
  const bool sane = block >= 1 && block <= kMost && halo >= 0 && halo <= kMost;
  const std::int64_t window = sane ? block + 2 * halo : 0;
  require(sane && maps.queries == block * block && maps.keys == window * window, kName,
          "maps of {} queries on {} keys do not hold blocks of {} with a halo of {}", maps.queries, maps.keys,
          block, halo);
  const auto of = [&](GridAxis axis) {
    return make_axis_index(block_places(maps, {1, block, block}, axis, tokens), block, window,
                           [&](std::int64_t a, std::int64_t b) { return relative_logits_row(window, a, b); });
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AttentionTerm relative_logits_term(const Context& ctx, const RelativeLogits& tables, const Var& q,
                                   std::int64_t heads, float scale, const AxisIndices& indices) {
  require(std::isfinite(scale), kName, "a scale of {}", scale);
  const auto table = [&](const char* name, const Var& vectors, const auto& index) {
    const std::int64_t K = index == nullptr ? 0 : index->extent();
    return AxisTable{
        name, vectors, tables.absolute ? K : 2 * K - 1, 0, {.alpha = tables.scaled ? scale : 1.0f}};
  };
  const bool absolute = tables.absolute;
  return axis_products_term(
      ctx, kName, q, heads,
      {AxisTable{"frames"},
       table(absolute ? RelativeLogits::kAbsoluteRows : RelativeLogits::kRows, tables.rows, indices.rows),
       table(absolute ? RelativeLogits::kAbsoluteColumns : RelativeLogits::kColumns, tables.columns,
             indices.columns)},
      indices);
}

namespace {

struct Form {
  bool absolute = false, scaled = true, halo = false, zeros = false;
};

Form form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  check_one_grid(kName, c);
  if (c.variant.empty()) return {};
  if (c.variant == "absolute") return {.absolute = true};
  if (c.variant == "unscaled") return {.scaled = false};
  if (c.variant == "halo") return {.halo = true};
  if (c.variant == "halo_zeros") return {.scaled = false, .halo = true, .zeros = true};
  fail(kName, "unknown variant \"{}\"; there are absolute, unscaled, halo, halo_zeros", c.variant);
}

// Places along one axis that a query at place a sees: all, or its block and the halo.
std::pair<std::int64_t, std::int64_t> seen(const Form& form, std::int64_t a, std::int64_t extent) {
  if (!form.halo) return {0, extent};
  const std::int64_t first = a / kBlock * kBlock;
  return {first - kHalo, first + kBlock + kHalo};
}

Complexes reference(const EncodingCase& c, const Form& form, const std::vector<Complexes>& x) {
  using T = std::complex<double>;
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const double scale = 1.0 / std::sqrt(static_cast<double>(c.D));
  // q.R of one axis, `a` and `b` counted from the first key that the query sees.
  const auto axis = [&](const T* q, const Complexes& table, std::int64_t a, std::int64_t b,
                        std::int64_t extent) {
    if (form.absolute) return plain_dot(q, table.data() + b * c.D, c.D);
    if (!form.halo) return relative_logits_score(q, table.data(), c.D, extent, a, b);
    const std::int64_t first = a / kBlock * kBlock;  // the block's; its window starts kHalo before it
    return relative_logits_score(q, table.data(), c.D, kBlock + 2 * kHalo, a - first, b - first + kHalo);
  };
  return plain_local_attention<T>(
      call, form.zeros,
      [&](std::int64_t i) {
        std::vector<std::pair<std::int64_t, std::int64_t>> places;
        const auto rows = seen(form, i / c.query.columns, c.query.rows);
        const auto columns = seen(form, i % c.query.columns, c.query.columns);
        for (auto y = rows.first; y < rows.second; ++y)
          for (auto at = columns.first; at < columns.second; ++at) places.emplace_back(y, at);
        return places;
      },
      [&](auto b, auto h, auto i, auto y, auto column, const T* k) {
        const T* q = call.query(b, h, i);
        const T position = axis(q, x[3], i / c.query.columns, y, c.query.rows) +
                           axis(q, x[4], i % c.query.columns, column, c.query.columns);
        return plain_dot(q, k, c.D) * scale + position * (form.scaled ? scale : 1.0);
      });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const auto maps = form.halo ? halo_rows(c.query, kBlock, kHalo) : nullptr;
  const AxisIndices indices = form.halo       ? halo_indices(*maps, c.Nq(), kBlock, kHalo)
                              : form.absolute ? absolute_logits_indices(c.query)
                                              : relative_logits_indices(c.query);
  const auto table = [&](std::int64_t K, std::uint64_t seed) {
    return random_parameter({form.absolute ? K : 2 * K - 1, c.D}, seed);
  };
  const RelativeLogits tables{table(indices.rows->extent(), c.seed),
                              table(indices.columns->extent(), c.seed + 1), form.absolute, form.scaled};
  return axis_instance(
      c,
      {{form.absolute ? RelativeLogits::kAbsoluteRows : RelativeLogits::kRows, tables.rows},
       {form.absolute ? RelativeLogits::kAbsoluteColumns : RelativeLogits::kColumns, tables.columns}},
      [=](const Context& ctx, const Var& q, AttentionOptions& options) {
        options.rows = maps;
        options.zero_pad = form.zeros;
        const float scale = 1.0f / std::sqrt(static_cast<float>(c.D));
        options.terms = {relative_logits_term(ctx, tables, q, c.H, scale, indices)};
      },
      [=](const std::vector<Complexes>& x) { return reference(c, form, x); });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {grid_case({1, 1, 1}),
                                   grid_case({1, 2, 2}),
                                   grid_case({1, 3, 4}),
                                   grid_case({1, 3, 2}, "absolute"),
                                   grid_case({1, 2, 3}, "unscaled"),
                                   grid_case({1, 4, 4}, "halo"),
                                   grid_case({1, 3, 5}, "halo"),
                                   grid_case({1, 3, 3}, "halo_zeros"),
                                   grid_case({1, 2, 4})};
  out.back().B = 2, out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

// The map of the horizontal axis; the other is alike.
std::vector<std::int64_t> index(const EncodingCase& c) {
  const Form form = form_of(c);
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) -> std::int64_t {
    const std::int64_t a = i % c.query.columns, b = j % c.key.columns;
    if (form.absolute) return b;
    if (!form.halo) return relative_logits_row(c.key.columns, a, b);
    const std::int64_t y = i / c.query.columns, first = a / kBlock * kBlock - kHalo;
    const auto rows = seen(form, y, c.query.rows), columns = seen(form, a, c.query.columns);
    const bool sees = j / c.key.columns >= rows.first && j / c.key.columns < rows.second &&
                      b >= columns.first && b < columns.second;
    return sees ? relative_logits_row(kBlock + 2 * kHalo, a % kBlock, b - first) : -1;
  });
}

}  // namespace

const Encoding kRelativeLogits = {
    .name = kName,
    .header = "position/relative_logits.h",
    .title = "a learned vector per row and per column offset, met by the scaled query",
    .place = EncodingPlace::vectors,
    .paper = "Bello et al. 2019; Srinivas et al. 2021; Vaswani et al. 2021",
    .models = "AA-ResNet, BoTNet, HaloNet",
    .formula = "s = (q.k + q.Rh[y_j - y_i] + q.Rw[x_j - x_i]) / sqrt(D)",
    .lowering = "axis term of q Rh^T and q Rw^T per coordinate; halos by row maps",
    .parameters = "(2h - 1 + 2w - 1) D",
    .multiply_adds = "H N (h + w) D",
    .memory = "H N (h + w)",
    .growth = MemoryGrowth::axis,
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
