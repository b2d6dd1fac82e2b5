#include "position/natten.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "ops/layout.h"
#include "ops/rearrange.h"
#include "position/shared/axis.h"
#include "position/shared/grid_gather.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {

constexpr const char* kNattenName = "natten";

/// A run of queries on one axis with the keys around it, places or -1, and where the window of each query
/// starts among these keys. Key slot a lies a - K/2 steps from query slot 0, in every run alike.
struct Run {
  std::vector<std::int64_t> queries, keys, first;
};

/// Runs of `length` queries over the places of one residue. The last run ends at the border, so that windows
/// that were moved inwards stay within its halo; what it shares with the one before is its own.
void add_runs(std::vector<Run>& out, std::int64_t residue, std::int64_t L, std::int64_t K, std::int64_t d,
              std::int64_t length) {
  const std::int64_t n = (L - residue - 1) / d + 1, half = K / 2, last = n - length;
  for (std::int64_t begin = 0; begin < n; begin += length) {
    const std::int64_t start = std::min(begin, last);
    const std::int64_t end = start == last ? n : std::min(start + length, last);
    Run run;
    for (std::int64_t t = start; t < start + length; ++t) {
      const std::int64_t place = residue + t * d;
      run.queries.push_back(t < end ? place : -1);
      run.first.push_back((natten_start(place, L, K, d) - residue) / d - (start - half));
    }
    for (std::int64_t t = start - half; t < start + length + half; ++t)
      run.keys.push_back(t >= 0 && t < n ? residue + t * d : -1);
    out.push_back(std::move(run));
    if (start == last) return;
  }
}

std::vector<Run> runs_of(std::int64_t L, std::int64_t K, std::int64_t d, std::int64_t length) {
  std::vector<Run> out;
  for (std::int64_t residue = 0; residue < d; ++residue) add_runs(out, residue, L, K, d, length);
  return out;
}

void add_rows(std::vector<std::int32_t>& rows, const std::vector<std::int64_t>& down,
              const std::vector<std::int64_t>& across, std::int64_t columns) {
  for (const std::int64_t y : down)
    for (const std::int64_t x : across)
      rows.push_back(y < 0 || x < 0 ? -1 : static_cast<std::int32_t>(y * columns + x));
}

void check(Window grid, std::int64_t K, std::int64_t d, std::int64_t block) {
  constexpr std::int64_t kMost = 1 << 14;  // a side; places of a grid fit 32 bits
  require(K >= 1 && K % 2 == 1 && K <= 255 && d >= 1 && d <= kMost && block >= 1 && block <= 256, kNattenName,
          "a window of {} with dilation {} in blocks of {}; the window must be odd and at most 255, the "
          "dilation at least 1 and the block 1 to 256",
          K, d, block);
  check_grid(kNattenName, {1, grid.rows, grid.columns}, "the grid");
  require(std::min(grid.rows, grid.columns) >= K * d && std::max(grid.rows, grid.columns) <= kMost,
          kNattenName,
          "a window of {} with dilation {} does not fit a grid of {}x{}; pad it to {} places a side (and at "
          "most {})",
          K, d, grid.rows, grid.columns, K * d, kMost);
}

}  // namespace

NattenMaps natten_maps(Window grid, std::int64_t kernel, std::int64_t dilation, std::int64_t block) {
  check(grid, kernel, dilation, block);
  const std::int64_t K = kernel, half = K / 2, least = std::max(block, half + 1);
  // The shortest residue decides: all runs of an axis have one length.
  const std::int64_t height = std::min(least, grid.rows / dilation),
                     width = std::min(least, grid.columns / dilation);
  const std::vector<Run> down = runs_of(grid.rows, K, dilation, height),
                         across = runs_of(grid.columns, K, dilation, width);
  auto maps = std::make_shared<RowMaps>();
  maps->groups = static_cast<std::int64_t>(down.size() * across.size());
  maps->queries = height * width;
  maps->keys = (height + K - 1) * (width + K - 1);
  maps->box_columns = width + K - 1;
  for (const Run& y : down)
    for (const Run& x : across) {
      add_rows(maps->query_rows, y.queries, x.queries, grid.columns);
      add_rows(maps->key_rows, y.keys, x.keys, grid.columns);
      for (const std::int64_t top : y.first)
        for (const std::int64_t left : x.first)
          for (const std::int64_t side : {top, top + K, left, left + K})
            maps->query_box.push_back(static_cast<std::int32_t>(side));
    }
  const auto row = [K, half](auto, auto dr, auto dc) -> std::int64_t {
    const std::int64_t y = -dr - half + K - 1, x = -dc - half + K - 1, side = 2 * K - 1;
    return y >= 0 && y < side && x >= 0 && x < side ? y * side + x : -1;
  };
  return {maps, grid_gather(kNattenName, {1, height, width}, {1, height + K - 1, width + K - 1},
                            (2 * K - 1) * (2 * K - 1), {}, 1, row)};
}

void add_natten(const Context& ctx, const Natten& natten, const NattenMaps& maps, AttentionOptions& options) {
  options.rows = maps.rows;
  if (!natten.table.defined()) return;
  const std::int64_t side = 2 * natten.kernel - 1, H = options.heads;
  check_table(kNattenName, Natten::kTable, natten.table, {H, side, side});
  const Var table = permute(ctx, reshape(ctx, natten.table, {H, side * side}), {1, 0});
  options.terms.push_back(gather_term(table, maps.gather));
}

}  // namespace locant
