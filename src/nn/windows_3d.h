#pragma once

#include <cstdint>

#include "nn/windows.h"
#include "position/encoding.h"

namespace locant {

/// A video's tokens (frames, rows, columns) cut into windows after a cyclic shift by minus `shift`. Sides
/// that the window does not divide are padded at the end, before the shift.
struct WindowLayout3d {
  Grid grid, window;
  Grid shift = {0, 0, 0};

  Grid padded() const;
  bool pads() const;
  bool shifts() const { return shift.frames != 0 || shift.rows != 0 || shift.columns != 0; }
};

/// Video Swin's rule: on an axis that is not longer than the window, the window is the axis and does not
/// shift.
WindowLayout3d fit_windows_3d(Grid grid, Grid window, Grid shift);

/// Row maps for ops/attention.h, as make_window_rows has them: windows and slots row-major, frames slowest;
/// padding slots are -1; regions are set when the layout shifts. Throws Error on an empty grid or window, on
/// a shift outside 0 .. window - 1, or on more than 2^30 slots.
RowMaps make_window_rows_3d(const WindowLayout3d& layout);

}  // namespace locant
