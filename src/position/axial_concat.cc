#include "position/axial_concat.h"

#include "core/error.h"
#include "position/score_instance.h"

namespace locant {

namespace {
constexpr const char* kName = "axial_concat";
}

AxisIndices axial_concat_indices(std::int64_t K, const Grid& query, const Grid& key) {
  require(K >= 0 && K <= (1 << 20), kName, "offsets clipped at {}; K must be 0 to 2^20", K);
  check_grid(kName, query, "the query grid");
  check_grid(kName, key, "the key grid");
  require(query.frames == 1 && key.frames == 1, kName, "grids of {} and {} frames; the tables are of a plane",
          query.frames, key.frames);
  const auto of = [&](GridAxis axis) {
    return make_axis_index(grid_places(query, axis), extent_of(query, axis), extent_of(key, axis),
                           [&](std::int64_t a, std::int64_t b) { return axial_concat_row(K, a, b); });
  };
  return {nullptr, of(GridAxis::rows), of(GridAxis::columns), 0};
}

AttentionTerm axial_concat_term(const Context& ctx, const AxialConcat& tables, const Var& q,
                                std::int64_t heads, float scale, const AxisIndices& indices) {
  require(std::isfinite(scale), kName, "a scale of {}", scale);
  const std::int64_t half = half_head_width(kName, q, heads), R = axial_concat_rows(tables.K);
  return axis_products_term(ctx, kName, q, heads,
                            {AxisTable{"frames"},
                             {AxialConcat::kRows, tables.rows, R, half, {.alpha = scale, .first = half}},
                             {AxialConcat::kColumns, tables.columns, R, half, {.alpha = scale}}},
                            indices);
}

namespace {

bool per_head(const EncodingCase& c) {
  check_no_prefix(kName, c);
  require(c.variant.empty() || c.variant == "per_head", kName, "unknown variant \"{}\"; there is per_head",
          c.variant);
  return c.variant == "per_head";
}

// One that clips on the larger grids.
std::int64_t clip_of(const EncodingCase& c) {
  return std::max<std::int64_t>(1, std::max(c.key.rows, c.key.columns) / 2);
}

EncodingInstance instance(const EncodingCase& c) {
  const bool own = per_head(c);
  const std::int64_t K = clip_of(c), R = 2 * K + 1, half = c.D / 2;
  const Shape shape = own ? Shape{c.H, R, half} : Shape{R, half};
  const AxialConcat tables{K, random_parameter(shape, c.seed), random_parameter(shape, c.seed + 1)};
  const AxisIndices indices = axial_concat_indices(K, c.query, c.key);
  const auto lower = [=](const Context& ctx, const Var& q, AttentionOptions& options) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.D));
    options.terms = {axial_concat_term(ctx, tables, q, c.H, scale, indices)};
  };
  const auto reference = [=](const std::vector<Complexes>& x) {
    using T = std::complex<double>;
    const PlainCall<T> call{c, x[0], x[1], x[2]};
    const auto vector = [&](const Complexes& table, auto h, std::int64_t offset) {
      const auto clipped = std::min(std::max(offset, -K), K);
      return table.data() + ((own ? h * R : 0) + clipped + K) * half;
    };
    return plain_attention<T>(call, [&](auto b, auto h, auto i, auto j) {
      const auto off_x = j % c.key.columns - i % c.query.columns;
      const auto off_y = j / c.key.columns - i / c.query.columns;
      return axial_concat_score(call.query(b, h, i), call.key(b, h, j), vector(x[3], h, off_x),
                                vector(x[4], h, off_y), c.D);
    });
  };
  return axis_instance(c, {{AxialConcat::kColumns, tables.columns}, {AxialConcat::kRows, tables.rows}}, lower,
                       reference);
}

std::vector<EncodingCase> cases() {
  const auto of = [](Grid query, Grid key, const char* variant = "") {
    return EncodingCase{.query = query, .key = key, .variant = variant};
  };
  std::vector<EncodingCase> out = {of({1, 1, 1}, {1, 1, 1}), of({1, 2, 2}, {1, 2, 2}),
                                   of({1, 3, 5}, {1, 3, 5}), of({1, 2, 3}, {1, 4, 2}),
                                   of({1, 3, 3}, {1, 3, 3}, "per_head")};
  out.push_back(of({1, 4, 2}, {1, 4, 2}));
  out.back().B = 2, out.back().H = 3, out.back().D = 2, out.back().Dv = 5;
  return out;
}

// The map of the column vectors; that of the row vectors is alike.
std::vector<std::int64_t> index(const EncodingCase& c) {
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) {
    return axial_concat_row(clip_of(c), i % c.query.columns, j % c.key.columns);
  });
}

}  // namespace

const Encoding kAxialConcat = {
    .name = kName,
    .header = "position/axial_concat.h",
    .title = "clipped column and row offsets, a half of the key's position vector each",
    .place = EncodingPlace::vectors,
    .paper = "Shaw et al. 2018 with the halves of Ramachandran et al. 2019, as surveys combine them",
    .models = "none released",
    .formula = "s = q.(k + concat(px[x_j - x_i], py[y_j - y_i])) / sqrt(D)",
    .lowering = "axis term of q's halves",
    .parameters = "(2K + 1) D",
    .multiply_adds = "H N (h + w) D / 2",
    .memory = "H N (h + w)",
    .growth = MemoryGrowth::axis,
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
