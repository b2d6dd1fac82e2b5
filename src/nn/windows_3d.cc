#include "nn/windows_3d.h"

#include <algorithm>

#include "core/error.h"

namespace locant {
namespace {

std::int64_t up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

void check(const WindowLayout3d& l) {
  constexpr std::int64_t kLargest = 1 << 15;  // a side
  const Grid g = l.grid, w = l.window, s = l.shift;
  std::int64_t slots = 1;
  const std::int64_t axes[3][3] = {
      {g.frames, w.frames, s.frames}, {g.rows, w.rows, s.rows}, {g.columns, w.columns, s.columns}};
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
  const std::int64_t t = (at.frames + l.shift.frames) % padded.frames;
  const std::int64_t y = (at.rows + l.shift.rows) % padded.rows;
  const std::int64_t x = (at.columns + l.shift.columns) % padded.columns;
  if (t >= l.grid.frames || y >= l.grid.rows || x >= l.grid.columns) return -1;
  return static_cast<std::int32_t>((t * l.grid.rows + y) * l.grid.columns + x);
}

std::int32_t region_at(const WindowLayout3d& l, Grid padded, Grid at) {
  return 9 * shift_band(at.frames, padded.frames, l.window.frames, l.shift.frames) +
         3 * shift_band(at.rows, padded.rows, l.window.rows, l.shift.rows) +
         shift_band(at.columns, padded.columns, l.window.columns, l.shift.columns);
}

}  // namespace

Grid WindowLayout3d::padded() const {
  return {up(grid.frames, window.frames), up(grid.rows, window.rows), up(grid.columns, window.columns)};
}

bool WindowLayout3d::pads() const { return padded().tokens() != grid.tokens(); }

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

}  // namespace locant
