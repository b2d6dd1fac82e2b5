#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layers.h"
#include "position/video_swin_bias.h"

namespace locant {

/// Video Swin's attention in windows (Liu et al. 2022) with the bias of
/// position/video_swin_bias.h: `relative_position_bias_table`, `qkv`, `proj`.
class WindowAttention3d {
 public:
  struct Options {
    std::int64_t width = 96, heads = 3;
    Grid window = {8, 7, 7};  ///< that the table is made for
    bool qkv_bias = true;
    WindowFit fit = WindowFit::corner;  ///< how a smaller window reads the table
  };
  WindowAttention3d() = default;
  /// Throws Error when the heads do not divide the width.
  WindowAttention3d(const Weights& w, const Options& options);

  /// The map for a window no larger than the table's.
  std::shared_ptr<const OffsetMap> gather(Grid window) const;
  /// The same for the first `tokens` of the table's own window.
  std::shared_ptr<const OffsetMap> gather(std::int64_t tokens) const;
  /// x (B, N, C) -> (B, N, C): N the tokens of one window, or as the row maps cut them. A padding slot is a
  /// token that was zero before the projection. Shows qkv and proj.
  Var operator()(const Context& ctx, const Var& x, std::shared_ptr<const OffsetMap> gather,
                 std::shared_ptr<const RowMaps> rows = nullptr) const;

 private:
  Options options_;
  std::string path_;
  VideoSwinBias bias_;
  std::shared_ptr<const OffsetMap> whole_;  // of the table's own window
  Linear qkv_, proj_;
};

}  // namespace locant
