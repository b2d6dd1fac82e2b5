#pragma once

// Video Swin's relative position bias: Liu et al. 2022, "Video Swin Transformer":
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + T[I(i, j), h]
//   I(i, j) = ((dt + Wd - 1)(2 Wh - 1) + dr + Wh - 1)(2 Ww - 1) + dc + Ww - 1        query minus key
//
// Enters: score. i, j: tokens of a window of Wd x Wh x Ww, frames slowest. Parameters: T ((2 Wd - 1)(2 Wh -
// 1)(2 Ww - 1), H), `relative_position_bias_table`. Init: normal 0.02. A window that had to shrink: the
// official code (and torchvision) cuts the leading corner out of the full index matrix, as though its tokens
// were the first ones of the full window. That is right when only the depth shrank, and reads other
// displacements than its own otherwise; WindowFit::corner does the same, WindowFit::displacement what was
// meant. Resize: from a 2-D table, repeated over depth. Gradient: by the kernel. Models: Video Swin.

#include <cstdint>
#include <memory>

#include "position/shared/grid_gather.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t video_swin_table_rows(Grid w) { return displacement_rows(w); }

/// I(i, j) in the table of a window `w` for a displacement.
constexpr std::int64_t video_swin_row(Grid w, std::int64_t dt, std::int64_t dr, std::int64_t dc) {
  return displacement_row(w, dt, dr, dc);
}

/// I(i, j) for tokens i and j of the window `w`.
constexpr std::int64_t video_swin_index(Grid w, std::int64_t i, std::int64_t j) {
  return displacement_index(w, i, j);
}

/// How a window smaller than the table's reads it.
enum class WindowFit { corner, displacement };

// ---- parameters

struct VideoSwinBias {
  static constexpr const char* kTable = "relative_position_bias_table";
  static constexpr float kInitStd = 0.02f;
  Grid window;  ///< that the table was made for
  Var table;    ///< (video_swin_table_rows(window), H)
};

/// A 2-D table ((2 Wh - 1)(2 Ww - 1), H) repeated for the 2 frames - 1 displacements in time: how Video Swin
/// starts from Swin. Throws Error unless the rows fit `window`'s rows and columns.
Var inflate_swin_bias(const Context& ctx, const Var& table, Grid window);

// ---- lowering

/// The map for `window` tokens by the table of `table`. Throws Error when the window is larger on an axis.
std::shared_ptr<const OffsetMap> video_swin_gather(Grid table, Grid window, WindowFit fit);

/// The term for ops/attention. Throws Error when the table does not fit its window.
AttentionTerm video_swin_bias_term(const VideoSwinBias& bias, std::int64_t heads,
                                   std::shared_ptr<const OffsetMap> gather);

// ---- the equation, as it stands

/// Displacement (t, r, c) by the table of window (Wd, Wh, Ww).
template <class T>
T video_swin_bias_score(T qk, const T* table, std::int64_t heads, std::int64_t h, Grid w, std::int64_t t,
                        std::int64_t r, std::int64_t c) {
  const std::int64_t plane = (2 * w.rows - 1) * (2 * w.columns - 1);
  const std::int64_t row =
      (t + w.frames - 1) * plane + (r + w.rows - 1) * (2 * w.columns - 1) + (c + w.columns - 1);
  return qk + table[row * heads + h];
}

}  // namespace locant
