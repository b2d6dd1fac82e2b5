#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layers.h"
#include "nn/windows.h"
#include "position/grid.h"

namespace locant {

/// Twins' locally grouped attention: windows of the grid, neither shifted nor biased: `qkv`, `proj`. A grid
/// that windows do not divide is padded with zeros before `qkv`, as Twins' detection code does: the padding
/// takes part with its bias.
class LocallyGroupedAttention {
 public:
  struct Options {
    std::int64_t width = 64, heads = 2;
    Window window = {7, 7};
    bool qkv_bias = true;
    float dropout = 0.0f;  ///< of probabilities
  };
  LocallyGroupedAttention() = default;
  /// Throws Error when the heads do not divide the width, or a side of the window is not 1 to 1024.
  LocallyGroupedAttention(const Weights& w, const Options& options);
  /// x (B, h w, C) -> the same, plus skip where that is defined. Shows qkv in the order of windows, (B, rows
  /// of windows, columns of windows, wh, ww, 3 C), and proj.
  Var operator()(const Context& ctx, const Var& x, Grid grid, const Var& skip = {}) const;

 private:
  Options options_;
  std::string path_;
  Linear qkv_, proj_;
  std::shared_ptr<const WindowMaps> maps_;
};

}  // namespace locant
