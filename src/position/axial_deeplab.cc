#include "position/axial_deeplab.h"

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {
constexpr const char* kAxialDeeplabName = "axial_deeplab";
}

std::array<Var, 3> axial_deeplab_split(const Context& ctx, const Var& relative, std::int64_t D) {
  const Shape& shape = relative.shape();
  if (shape.rank() != 2 || D < 1 || shape[0] <= 2 * D || shape[1] % 2 == 0)
    fail(kAxialDeeplabName, "{} has the shape {}; (2 x {} + Dv, 2K - 1) was expected",
         AxialDeeplab::kRelative, shape.str(), D);
  const Var rows = permute(ctx, relative, {1, 0});
  return {slice_axis(ctx, rows, 1, 0, D), slice_axis(ctx, rows, 1, D, 2 * D),
          slice_axis(ctx, rows, 1, 2 * D, shape[0])};
}

std::shared_ptr<const RowMaps> axial_rows(const Grid& grid, GridAxis axis) {
  check_grid(kAxialDeeplabName, grid, "the grid");
  require(grid.frames == 1 && axis != GridAxis::frames, kAxialDeeplabName,
          "lines are rows or columns of one frame");
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
  require(n >= 1 && n <= K && K <= (1 << 20), kAxialDeeplabName, "a line of {} places for tables of span {}",
          n, K);
  check_table(kAxialDeeplabName, "the query table", tables.query, {axial_deeplab_rows(K), D});
  check_table(kAxialDeeplabName, "the key table", tables.key, {axial_deeplab_rows(K), D});
  check_vectors(kAxialDeeplabName, "the value table", tables.value, H, axial_deeplab_rows(K), Dv);
  for (const Var* scale : {&tables.content_scale, &tables.query_scale, &tables.key_scale})
    if (scale->defined()) check_table(kAxialDeeplabName, "a scale of the logits", *scale, {H});
  const auto gather = [&](AxialOrder order) {
    return sequence_gather(kAxialDeeplabName, n, n, 0,
                           [&](std::int64_t distance) { return axial_deeplab_row(K, order, distance, 0); });
  };
  const auto ordered = gather(tables.order), keys = gather(AxialOrder::key_minus_query);
  options.scale = 1.0f;
  if (tables.content_scale.defined()) {
    auto one = std::make_shared<OffsetMap>();  // every pair reads the head's only number
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

}  // namespace locant
