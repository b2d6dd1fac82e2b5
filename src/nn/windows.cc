#include "nn/windows.h"

#include <algorithm>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::size_t kKeptLayouts = 64;

void check(const WindowLayout& l) {
  const bool sane = l.rows > 0 && l.columns > 0 && l.window.rows > 0 && l.window.columns > 0 &&
                    l.shift_rows >= 0 && l.shift_columns >= 0 && l.shift_rows < l.window.rows &&
                    l.shift_columns < l.window.columns;
  constexpr std::int64_t kLargest = 1 << 15;  // a side; the product of two padded ones then fits easily
  const bool fits = sane && std::max({l.rows, l.columns, l.window.rows, l.window.columns}) <= kLargest &&
                    l.padded_rows() * l.padded_columns() <= (std::int64_t{1} << 30);
  if (!fits)
    fail("windows", "windows of {}x{} shifted by ({}, {}) do not work on a grid of {}x{} tokens",
         l.window.rows, l.window.columns, l.shift_rows, l.shift_columns, l.rows, l.columns);
}

/// Token at a position of the rolled, padded grid, or -1.
std::int64_t token_at(const WindowLayout& l, std::int64_t y, std::int64_t x, std::int64_t padded_rows,
                      std::int64_t padded_columns) {
  if (l.order == PadOrder::roll_then_pad) {
    if (y >= l.rows || x >= l.columns) return -1;
    return (y + l.shift_rows) % l.rows * l.columns + (x + l.shift_columns) % l.columns;
  }
  y = (y + l.shift_rows) % padded_rows;
  x = (x + l.shift_columns) % padded_columns;
  return y < l.rows && x < l.columns ? y * l.columns + x : -1;
}

}  // namespace

RowMaps make_window_rows(const WindowLayout& layout) {
  check(layout);
  const std::int64_t padded_rows = layout.padded_rows(), padded_columns = layout.padded_columns();
  RowMaps maps;
  maps.groups = padded_rows / layout.window.rows * (padded_columns / layout.window.columns);
  maps.queries = maps.keys = layout.window.tokens();
  maps.query_rows.reserve(static_cast<std::size_t>(padded_rows * padded_columns));
  for (std::int64_t top = 0; top < padded_rows; top += layout.window.rows)
    for (std::int64_t left = 0; left < padded_columns; left += layout.window.columns)
      for (std::int64_t y = top; y < top + layout.window.rows; ++y)
        for (std::int64_t x = left; x < left + layout.window.columns; ++x) {
          maps.query_rows.push_back(
              static_cast<std::int32_t>(token_at(layout, y, x, padded_rows, padded_columns)));
          if (layout.shifts())
            maps.query_region.push_back(shift_region(layout, y, x, padded_rows, padded_columns));
        }
  maps.key_rows = maps.query_rows;
  maps.key_region = maps.query_region;
  return maps;
}

std::shared_ptr<const RowMaps> WindowMaps::rows(const WindowLayout& l) const {
  const LayoutKey key{l.rows,
                      l.columns,
                      l.window.rows,
                      l.window.columns,
                      l.shift_rows,
                      l.shift_columns,
                      static_cast<int>(l.order)};
  const std::lock_guard lock(mutex_);
  const auto found = rows_.find(key);
  if (found != rows_.end()) return found->second;
  if (rows_.size() >= kKeptLayouts) rows_.clear();
  auto maps = std::make_shared<const RowMaps>(make_window_rows(l));
  rows_.emplace(key, maps);
  return maps;
}

std::shared_ptr<const GatherMap> WindowMaps::gather(Window table, Window window) const {
  const WindowKey key{table.rows, table.columns, window.rows, window.columns};
  const std::lock_guard lock(mutex_);
  const auto found = gathers_.find(key);
  if (found != gathers_.end()) return found->second;
  if (gathers_.size() >= kKeptLayouts) gathers_.clear();
  auto map = swin_gather(table, window);
  gathers_.emplace(key, map);
  return map;
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
