#include "nn/windows.h"

#include <algorithm>

#include "core/error.h"
#include "position/swin_bias.h"

namespace locant {
namespace {

constexpr std::size_t kKeptLayouts = 64;

std::int64_t up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

/// A picture is a video of one frame.
WindowLayout3d video_of(const WindowLayout& l) {
  return {{1, l.rows, l.columns},
          {1, l.window.rows, l.window.columns},
          {0, l.shift_rows, l.shift_columns},
          l.order};
}

void check(const WindowLayout3d& l) {
  constexpr std::int64_t kLargest = 1 << 15;  // a side: the product of two padded ones then fits easily
  const Grid g = l.grid, w = l.window, s = l.shift;
  const std::int64_t axes[3][3] = {
      {g.frames, w.frames, s.frames}, {g.rows, w.rows, s.rows}, {g.columns, w.columns, s.columns}};
  std::int64_t slots = 1;
  bool sane = true;
  for (const auto& [side, window, shift] : axes) {
    sane = sane && side >= 1 && window >= 1 && shift >= 0 && shift < window && side <= kLargest &&
           window <= kLargest;
    if (sane) slots *= up(side, window);
    sane = sane && slots <= (std::int64_t{1} << 30);
  }
  if (!sane)
    fail("windows", "windows of {}x{}x{} shifted by ({}, {}, {}) do not work on {}x{}x{} tokens", w.frames,
         w.rows, w.columns, s.frames, s.rows, s.columns, g.frames, g.rows, g.columns);
}

/// Token at a place of the rolled, padded grid, or -1.
std::int32_t token_at(const WindowLayout3d& l, Grid padded, Grid at) {
  const bool roll_first = l.order == PadOrder::roll_then_pad;
  const Grid g = l.grid, turn = roll_first ? g : padded;
  if (roll_first && (at.frames >= g.frames || at.rows >= g.rows || at.columns >= g.columns)) return -1;
  const std::int64_t t = (at.frames + l.shift.frames) % turn.frames;
  const std::int64_t y = (at.rows + l.shift.rows) % turn.rows;
  const std::int64_t x = (at.columns + l.shift.columns) % turn.columns;
  if (t >= g.frames || y >= g.rows || x >= g.columns) return -1;
  return static_cast<std::int32_t>((t * g.rows + y) * g.columns + x);
}

std::int32_t region_at(const WindowLayout3d& l, Grid padded, Grid at) {
  return 9 * shift_band(at.frames, padded.frames, l.window.frames, l.shift.frames) +
         3 * shift_band(at.rows, padded.rows, l.window.rows, l.shift.rows) +
         shift_band(at.columns, padded.columns, l.window.columns, l.shift.columns);
}

}  // namespace

WindowLayout fit_windows(Window window, Grid grid, GridFit fit, PadOrder order, bool shifted) {
  WindowLayout out{.rows = grid.rows, .columns = grid.columns, .window = window, .order = order};
  const bool low = grid.rows <= window.rows, narrow = grid.columns <= window.columns;
  const bool shrinks = fit == GridFit::shrink && (low || narrow);
  const std::int64_t side = std::min(grid.rows, grid.columns);
  if (shrinks) out.window = {std::min(side, window.rows), std::min(side, window.columns)};
  if (fit == GridFit::shrink_axis)
    out.window = {std::min(grid.rows, window.rows), std::min(grid.columns, window.columns)};
  if (shifted && !shrinks && !low) out.shift_rows = window.rows / 2;
  if (shifted && !shrinks && !narrow) out.shift_columns = window.columns / 2;
  return out;
}

Grid WindowLayout3d::padded() const {
  return {up(grid.frames, window.frames), up(grid.rows, window.rows), up(grid.columns, window.columns)};
}

WindowLayout3d fit_windows_3d(Grid grid, Grid window, Grid shift) {
  WindowLayout3d out{grid, window, shift};
  const auto fit = [](std::int64_t side, std::int64_t& window_side, std::int64_t& shift_side) {
    if (side > window_side) return;
    window_side = side;
    shift_side = 0;
  };
  fit(grid.frames, out.window.frames, out.shift.frames);
  fit(grid.rows, out.window.rows, out.shift.rows);
  fit(grid.columns, out.window.columns, out.shift.columns);
  return out;
}

RowMaps make_window_rows_3d(const WindowLayout3d& l) {
  check(l);
  const Grid padded = l.padded(), w = l.window;
  RowMaps maps;
  maps.groups = padded.tokens() / w.tokens();
  maps.queries = maps.keys = w.tokens();
  maps.query_rows.reserve(static_cast<std::size_t>(padded.tokens()));
  for (std::int64_t g = 0; g < maps.groups; ++g) {
    const std::int64_t across = padded.columns / w.columns, down = padded.rows / w.rows;
    const Grid first{g / (down * across) * w.frames, g / across % down * w.rows, g % across * w.columns};
    for (std::int64_t slot = 0; slot < maps.queries; ++slot) {
      const Grid at{first.frames + slot / (w.rows * w.columns), first.rows + slot / w.columns % w.rows,
                    first.columns + slot % w.columns};
      maps.query_rows.push_back(token_at(l, padded, at));
      if (l.shifts()) maps.query_region.push_back(region_at(l, padded, at));
    }
  }
  maps.key_rows = maps.query_rows;
  maps.key_region = maps.query_region;
  return maps;
}

RowMaps make_window_rows(const WindowLayout& layout) { return make_window_rows_3d(video_of(layout)); }

std::shared_ptr<const RowMaps> WindowMaps::rows(const WindowLayout& l) const { return rows(video_of(l)); }

std::shared_ptr<const RowMaps> WindowMaps::rows(const WindowLayout3d& l) const {
  const Grid g = l.grid, w = l.window, s = l.shift;
  const LayoutKey key{g.frames,  g.rows,   g.columns, w.frames,  w.rows,
                      w.columns, s.frames, s.rows,    s.columns, static_cast<std::int64_t>(l.order)};
  const std::lock_guard lock(mutex_);
  const auto found = rows_.find(key);
  if (found != rows_.end()) return found->second;
  if (rows_.size() >= kKeptLayouts) rows_.clear();
  auto maps = std::make_shared<const RowMaps>(make_window_rows_3d(l));
  rows_.emplace(key, maps);
  return maps;
}

std::shared_ptr<const OffsetMap> WindowMaps::gather(Window table, Window window) const {
  const WindowKey key{table.rows, table.columns, window.rows, window.columns};
  const std::lock_guard lock(mutex_);
  const auto found = gathers_.find(key);
  if (found != gathers_.end()) return found->second;
  if (gathers_.size() >= kKeptLayouts) gathers_.clear();
  auto map = swin_gather(table, window);
  gathers_.emplace(key, map);
  return map;
}

Tensor padded_grid(const Tensor& tokens, const WindowLayout& layout) {
  const std::int64_t B = tokens.dim(0), C = tokens.dim(2);
  const std::int64_t rows = layout.padded_rows(), columns = layout.padded_columns();
  Tensor out = Tensor::zeros({B, rows * columns, C});
  for (std::int64_t line = 0; line < B * layout.rows; ++line)
    std::copy_n(tokens.data() + line * layout.columns * C, layout.columns * C,
                out.data() + (line / layout.rows * rows + line % layout.rows) * columns * C);
  return out;
}

Tensor window_order(const Tensor& tokens, const RowMaps& rows) {
  const std::int64_t B = tokens.dim(0), N = tokens.dim(1), C = tokens.dim(2);
  const std::int64_t slots = rows.groups * rows.queries;
  Tensor out = Tensor::zeros({B * rows.groups, rows.queries, C});
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t s = 0; s < slots; ++s) {
      const std::int64_t row = rows.query_rows.empty() ? s : rows.query_rows[static_cast<std::size_t>(s)];
      if (row < 0) continue;
      require(row < N, "windows", "row {} of {} tokens", row, N);
      const float* from = tokens.data() + (b * N + row) * C;
      std::copy(from, from + C, out.data() + (b * slots + s) * C);
    }
  return out;
}

}  // namespace locant
