#include "position/axial_deeplab.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/grid_gather.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {
constexpr const char* kName = "axial_deeplab";
}

std::array<Var, 3> axial_deeplab_split(const Context& ctx, const Var& relative, std::int64_t D) {
  const Shape& shape = relative.shape();
  if (shape.rank() != 2 || D < 1 || shape[0] <= 2 * D || shape[1] % 2 == 0)
    fail(kName, "{} has the shape {}; (2 x {} + Dv, 2K - 1) was expected", AxialDeeplab::kRelative,
         shape.str(), D);
  const Var rows = permute(ctx, relative, {1, 0});
  return {slice_axis(ctx, rows, 1, 0, D), slice_axis(ctx, rows, 1, D, 2 * D),
          slice_axis(ctx, rows, 1, 2 * D, shape[0])};
}

std::shared_ptr<const RowMaps> axial_rows(const Grid& grid, GridAxis axis) {
  check_grid(kName, grid, "the grid");
  require(grid.frames == 1 && axis != GridAxis::frames, kName, "lines are rows or columns of one frame");
  auto maps = std::make_shared<RowMaps>();
  const bool along_rows = axis == GridAxis::columns;  // the places of a line are columns
  maps->groups = along_rows ? grid.rows : grid.columns;
  maps->queries = maps->keys = along_rows ? grid.columns : grid.rows;
  if (along_rows) return maps;
  for (std::int64_t x = 0; x < grid.columns; ++x)
    for (std::int64_t y = 0; y < grid.rows; ++y)
      maps->query_rows.push_back(static_cast<std::int32_t>(y * grid.columns + x));
  maps->key_rows = maps->query_rows;
  return maps;
}

void add_axial_deeplab(const Context& ctx, const AxialDeeplab& tables, std::int64_t n, std::int64_t D,
                       std::int64_t Dv, AttentionOptions& options) {
  const std::int64_t H = options.heads, K = tables.K;
  require(n >= 1 && n <= K && K <= (1 << 20), kName, "a line of {} places for tables of span {}", n, K);
  check_table(kName, "the query table", tables.query, {axial_deeplab_rows(K), D});
  check_table(kName, "the key table", tables.key, {axial_deeplab_rows(K), D});
  check_vectors(kName, "the value table", tables.value, H, axial_deeplab_rows(K), Dv);
  for (const Var* scale : {&tables.content_scale, &tables.query_scale, &tables.key_scale})
    if (scale->defined()) check_table(kName, "a scale of the logits", *scale, {H});
  const auto gather = [&](AxialOrder order) {
    return sequence_gather(kName, n, n, 0,
                           [&](std::int64_t distance) { return axial_deeplab_row(K, order, distance, 0); });
  };
  const auto ordered = gather(tables.order), keys = gather(AxialOrder::key_minus_query);
  options.scale = 1.0f;
  if (tables.content_scale.defined()) {
    auto one = std::make_shared<GatherMap>();  // every pair reads the head's only number
    one->query_code.assign(static_cast<std::size_t>(n), 0);
    one->key_code = one->query_code;
    one->offsets = 1;
    options.factor = gather_term(reshape(ctx, tables.content_scale, {1, H}), one);
  }
  options.terms.push_back(band_term(Side::query, tables.query, ordered));
  options.terms.back().head_scale = tables.query_scale;
  options.terms.push_back(band_term(Side::key, tables.key, keys));
  options.terms.back().head_scale = tables.key_scale;
  options.value_term = {tables.value, ordered};
}

namespace {

struct Form {
  GridAxis axis = GridAxis::columns;
  AxialOrder order = AxialOrder::query_minus_key;
  bool scaled = true;
};

Form form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  check_one_grid(kName, c);
  if (c.variant.empty()) return {};
  if (c.variant == "height") return {.axis = GridAxis::rows};
  if (c.variant == "deeplab2") return {.order = AxialOrder::key_minus_query, .scaled = false};
  fail(kName, "unknown variant \"{}\"; there are height, deeplab2", c.variant);
}

Complexes reference(const EncodingCase& c, const Form& form, const std::vector<Complexes>& x) {
  using T = std::complex<double>;
  const PlainCall<T> call{c, x[0], x[1], x[2]};
  const std::int64_t n = extent_of(c.query, form.axis), X = c.query.columns;
  const bool height = form.axis == GridAxis::rows;
  // Offset query minus key along the line.
  const auto offset = [&](auto i, auto j) { return height ? i / X - j / X : i % X - j % X; };
  const auto row = [&](const Complexes& table, std::int64_t off, std::int64_t width) {
    return table.data() + (off + n - 1) * width;
  };
  const std::int64_t sign = form.order == AxialOrder::query_minus_key ? 1 : -1;
  return plain_attention<T>(
      c,
      [&](auto b, auto h, auto i, auto j) {
        std::array<T, 3> scales = {T(1), T(1), T(1)};
        for (std::size_t s = 0; s < 3 && form.scaled; ++s) scales[s] = x[6 + s][static_cast<std::size_t>(h)];
        const auto off = offset(i, j);
        return axial_deeplab_score(call.query(b, h, i), call.key(b, h, j), row(x[3], sign * off, c.D),
                                   row(x[4], -off, c.D), c.D, scales);
      },
      [&](auto, auto, auto i, auto j) { return height ? i % X == j % X : i / X == j / X; },
      [&](auto b, auto h, auto i, auto j, auto d) {
        return call.value(b, h, j)[d] + row(x[5], sign * offset(i, j), c.Dv)[d];
      });
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = extent_of(c.query, form.axis), R = axial_deeplab_rows(K);
  AxialDeeplab tables{.K = K,
                      .order = form.order,
                      .query = random_parameter({R, c.D}, c.seed),
                      .key = random_parameter({R, c.D}, c.seed + 1),
                      .value = random_parameter({R, c.Dv}, c.seed + 2)};
  std::vector<std::pair<std::string, Var>> parameters = {
      {"query", tables.query}, {"key", tables.key}, {"value", tables.value}};
  if (form.scaled) {
    tables.content_scale = random_parameter({c.H}, c.seed + 3, 0.5f, 0.75f);
    tables.query_scale = random_parameter({c.H}, c.seed + 4, 0.5f, 0.75f);
    tables.key_scale = random_parameter({c.H}, c.seed + 5, 0.5f, 0.75f);
    parameters.insert(parameters.end(), {{"content_scale", tables.content_scale},
                                         {"query_scale", tables.query_scale},
                                         {"key_scale", tables.key_scale}});
  }
  const auto maps = axial_rows(c.query, form.axis);
  return axis_instance(
      c, std::move(parameters),
      [=](const Context& ctx, const Var&, AttentionOptions& options) {
        options.rows = maps;
        add_axial_deeplab(ctx, tables, K, c.D, c.Dv, options);
      },
      [=](const std::vector<Complexes>& x) { return reference(c, form, x); });
}

std::vector<EncodingCase> cases() {
  const auto of = [](Grid grid, const char* variant = "") {
    return EncodingCase{.D = 2, .query = grid, .key = grid, .variant = variant};
  };
  std::vector<EncodingCase> out = {
      of({1, 1, 1}), of({1, 1, 2}), of({1, 2, 5}), of({1, 4, 3}, "height"), of({1, 2, 4}, "deeplab2"),
      of({1, 2, 3})};
  out.back().B = 2, out.back().H = 3, out.back().D = 1, out.back().Dv = 2;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t K = extent_of(c.query, form.axis);
  const GridAxis across = form.axis == GridAxis::rows ? GridAxis::columns : GridAxis::rows;
  return index_matrix(c, [&](std::int64_t i, std::int64_t j) -> std::int64_t {
    if (place_of(c.query, across, i) != place_of(c.query, across, j)) return -1;
    return axial_deeplab_row(K, form.order, place_of(c.query, form.axis, i), place_of(c.query, form.axis, j));
  });
}

}  // namespace

const Encoding kAxialDeeplab = {
    .name = kName,
    .header = "position/axial_deeplab.h",
    .title = "position vectors met by query, by key and added to values, along one axis",
    .place = EncodingPlace::value,
    .paper = "Wang et al. 2020, Axial-DeepLab",
    .models = "Axial-DeepLab, Axial-ResNet",
    .formula = "s = a q.k + b q.Rq[I] + c k.Rk[I'], out = sum P (v + Rv[I]), I = offset along the line",
    .lowering =
        "band terms of query and key with head scales, factor, value term, lines as row maps; batch norm "
        "of logits while training: composed only, its statistics need every logit",
    .parameters = "(2K - 1)(2D + Dv)",
    .multiply_adds = "about 2 H N K (2D + Dv), a tile at a time",
    .memory = "(2K - 1)(2D + Dv)",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
