#include "position/sasa.h"

#include "ops/arithmetic.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {

constexpr const char* kSasaName = "sasa";

void check_window(const LocalWindow& w) {
  require(w.rows >= 1 && w.columns >= 1 && w.rows <= 512 && w.columns <= 512 && w.top >= 0 && w.left >= 0 &&
              w.top < w.rows && w.left < w.columns,
          kSasaName, "a window of {}x{} that starts {} above and {} left of its query", w.rows, w.columns,
          w.top, w.left);
}

}  // namespace

std::shared_ptr<const RowMaps> local_rows(const Grid& grid, const LocalWindow& window, const Grid& block) {
  check_window(window);
  const Halo halo{window.top, window.left, window.rows - 1 - window.top, window.columns - 1 - window.left};
  auto maps = std::make_shared<RowMaps>(block_rows(kSasaName, grid, block, halo));
  maps->box_columns = block.columns + window.columns - 1;
  for (std::int64_t slot = 0; slot < maps->groups * maps->queries; ++slot) {
    const std::int64_t y = place_of(block, GridAxis::rows, slot % maps->queries);
    const std::int64_t x = place_of(block, GridAxis::columns, slot % maps->queries);
    for (const std::int64_t edge : {y, y + window.rows, x, x + window.columns})
      maps->query_box.push_back(static_cast<std::int32_t>(edge));
  }
  return maps;
}

AxisIndices local_indices(const RowMaps& maps, std::int64_t tokens, const LocalWindow& window,
                          const Grid& block) {
  check_window(window);
  check_grid(kSasaName, block, "the block");
  const auto of = [&](GridAxis axis, std::int64_t k) {
    const std::int64_t places = extent_of(block, axis);
    return make_axis_index(block_places(maps, block, axis, tokens), places, places + k - 1,
                           [&](std::int64_t a, std::int64_t b) { return local_row(k, a, b); });
  };
  return {nullptr, of(GridAxis::rows, window.rows), of(GridAxis::columns, window.columns), 0};
}

std::shared_ptr<const OffsetMap> local_gather(const LocalWindow& window, const Grid& block) {
  check_window(window);
  check_grid(kSasaName, block, "the block");
  const Grid keys{1, block.rows + window.rows - 1, block.columns + window.columns - 1};
  return grid_gather(kSasaName, block, keys, window.rows * window.columns, {}, 1,
                     [&](std::int64_t, std::int64_t off_y, std::int64_t off_x) -> std::int64_t {
                       const std::int64_t y = local_row(window.rows, off_y, 0);
                       const std::int64_t x = local_row(window.columns, off_x, 0);
                       return y >= 0 && x >= 0 ? y * window.columns + x : -1;
                     });
}

AttentionTerm sasa_term(const Context& ctx, const Sasa& tables, const Var& q, std::int64_t heads,
                        const LocalWindow& window, const AxisIndices& indices) {
  const std::int64_t half = half_head_width(kSasaName, q, heads);
  return axis_products_term(ctx, kSasaName, q, heads,
                            {AxisTable{"frames"},
                             {Sasa::kRows, tables.rows, window.rows, half},
                             {Sasa::kColumns, tables.columns, window.columns, half, {.first = half}}},
                            indices);
}

AttentionTerm sasa_channel_term(const Context& ctx, const Sasa& tables, std::int64_t channels,
                                const LocalWindow& window, std::shared_ptr<const OffsetMap> gather) {
  require(channels >= 2 && channels % 2 == 0, kSasaName, "{} channels do not split into two halves",
          channels);
  const std::int64_t half = channels / 2;
  check_table(kSasaName, Sasa::kRows, tables.rows, {half, 1, 1, window.rows, 1});
  check_table(kSasaName, Sasa::kColumns, tables.columns, {half, 1, 1, 1, window.columns});
  const Var none(Tensor::zeros({half, window.rows, window.columns}));
  const Var rows = add_broadcast(ctx, none, reshape(ctx, tables.rows, {half, window.rows, 1}));
  const Var columns = add_broadcast(ctx, none, reshape(ctx, tables.columns, {half, 1, window.columns}));
  const Var all = concat_axis(ctx, {rows, columns}, 0);
  return band_term(Side::query, reshape(ctx, all, {channels, window.rows * window.columns, 1}),
                   std::move(gather));
}

}  // namespace locant
