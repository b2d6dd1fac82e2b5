#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "nn/layers.h"
#include "nn/window_attention_3d.h"
#include "nn/windows.h"

namespace locant {

/// A block of Video Swin: x + attn(norm1 x) in (shifted) windows, then + mlp(norm2 x). `norm1`, `attn`,
/// `norm2`, `mlp.{fc1,fc2}`.
class VideoSwinBlock {
 public:
  struct Options {
    std::int64_t width = 96, heads = 3;
    Grid window = {8, 7, 7};
    Grid shift = {0, 0, 0};  ///< half the window in every other block
    double mlp_ratio = 4.0;
    bool qkv_bias = true;
    float norm_eps = 1e-5f;
    float drop_path = 0.0f;
    WindowFit fit = WindowFit::corner;
  };
  VideoSwinBlock() = default;
  /// `maps`: shared by the blocks of a model; its own where there are none.
  VideoSwinBlock(const Weights& w, const Options& options, std::shared_ptr<const WindowMaps> maps = nullptr);
  /// x (B, frames rows columns, C) -> the same. Shows attn in window order, padding slots included, norm2 and
  /// mlp.
  Var operator()(const Context& ctx, const Var& x, Grid grid) const;

 private:
  void show_attention(const Context& ctx, const Var& normed, const WindowLayout3d& layout,
                      const RowMaps& rows) const;

  Options options_;
  std::string path_;
  LayerNorm norm1_;
  WindowAttention3d attention_;
  LayerNorm norm2_;
  Mlp mlp_;
  std::shared_ptr<const WindowMaps> maps_;
};

}  // namespace locant
