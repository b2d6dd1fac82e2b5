#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "ops/attention/attention.h"
#include "position/grid.h"

namespace locant {

/// Padding of a grid that windows do not divide, when the windows are shifted too: the orders give different
/// results. pad_then_roll: torchvision, Hugging Face. roll_then_pad: timm.
enum class PadOrder { pad_then_roll, roll_then_pad };

/// A grid of tokens cut into windows, after a cyclic shift by (-shift_rows, -shift_columns). Sides that the
/// window does not divide are padded at the bottom and right.
struct WindowLayout {
  std::int64_t rows = 0, columns = 0;  ///< of the grid
  Window window;
  std::int64_t shift_rows = 0, shift_columns = 0;
  PadOrder order = PadOrder::pad_then_roll;

  std::int64_t padded_rows() const { return (rows + window.rows - 1) / window.rows * window.rows; }
  std::int64_t padded_columns() const {
    return (columns + window.columns - 1) / window.columns * window.columns;
  }
  bool pads() const { return padded_rows() != rows || padded_columns() != columns; }
  bool shifts() const { return shift_rows != 0 || shift_columns != 0; }
};

/// How windows give way to a grid with a side not longer than theirs.
enum class GridFit {
  shrink,       ///< to min(rows, columns) on both axes, no shift: Microsoft, Hugging Face
  shrink_axis,  ///< each axis by itself, no shift on that axis: timm
  pad           ///< they stay and the grid is padded, no shift on that axis: torchvision
};
/// Windows on a grid of one frame; shifted: by half of them, as in every second block.
WindowLayout fit_windows(Window window, Grid grid, GridFit fit, PadOrder order, bool shifted);

/// Band of position p on an axis of n (padded) positions: 0 for [0, n - window), 1 for [n - window, n -
/// shift), 2 for the rest. Without a shift the axis is one band.
constexpr std::int32_t shift_band(std::int64_t p, std::int64_t n, std::int64_t window, std::int64_t shift) {
  if (shift == 0 || p < n - window) return 0;
  return p < n - shift ? 1 : 2;
}

/// The same for a video's tokens (frames, rows, columns), frames slowest.
struct WindowLayout3d {
  Grid grid, window;
  Grid shift = {0, 0, 0};
  PadOrder order = PadOrder::pad_then_roll;

  Grid padded() const;
  bool shifts() const { return shift.frames != 0 || shift.rows != 0 || shift.columns != 0; }
};

/// Video Swin's rule: on an axis that is not longer than the window, the window is the axis and does not
/// shift.
WindowLayout3d fit_windows_3d(Grid grid, Grid window, Grid shift);

/// Row maps for ops/attention: groups are windows, row-major over the padded grid; slots are their tokens,
/// row-major; a padding slot is -1; regions are set when the layout shifts: a token sees the tokens of its
/// own region only. Throws Error on an empty grid or window, on a shift outside 0 .. window - 1, or on more
/// than 2^30 slots.
RowMaps make_window_rows(const WindowLayout& layout);
RowMaps make_window_rows_3d(const WindowLayout3d& layout);

/// Row maps that are built once and kept. Safe to call from several threads. Beyond 64 different layouts the
/// older ones are dropped (images of ever new sizes).
class WindowMaps {
 public:
  std::shared_ptr<const RowMaps> rows(const WindowLayout& layout) const;
  std::shared_ptr<const RowMaps> rows(const WindowLayout3d& layout) const;
  std::shared_ptr<const OffsetMap> gather(Window table, Window window) const;

 private:
  using LayoutKey = std::array<std::int64_t, 10>;
  using WindowKey = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>;
  mutable std::mutex mutex_;
  mutable std::map<LayoutKey, std::shared_ptr<const RowMaps>> rows_;
  mutable std::map<WindowKey, std::shared_ptr<const OffsetMap>> gathers_;
};

/// Tokens (B, N, C) of the layout's grid with the zeros that its padding adds: (B, padded N, C). For looking
/// at a model; no gradient.
Tensor padded_grid(const Tensor& tokens, const WindowLayout& layout);
/// Tokens (B, N, C) in window order: (B * groups, slots, C), padding slots zero. For looking at a model; no
/// gradient.
Tensor window_order(const Tensor& tokens, const RowMaps& rows);

}  // namespace locant
