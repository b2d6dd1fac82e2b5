#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "nn/conv_layers.h"
#include "nn/conv_norm.h"
#include "position/relative_logits.h"

namespace locant {

/// Multi-head attention on a map with relative logits, or with absolute ones (position/relative_logits.h), as
/// lucidrains' Bottleneck Transformer builds it: `to_qkv` (3 H D, in, 1, 1) without bias, no projection
/// behind, `pos_emb.rel_height`, `pos_emb.rel_width`, absolute `pos_emb.height`, `pos_emb.width`.
class BotnetAttention {
 public:
  struct Options {
    std::int64_t in = 0;
    std::int64_t heads = 4, head_width = 128;
    std::int64_t rows = 0, columns = 0;
    bool relative = true;
  };
  BotnetAttention() = default;
  /// Throws Error on sizes below 1.
  BotnetAttention(const Weights& w, const Options& options);
  /// images (B, in, rows, columns) -> (B, H D, rows, columns). Throws Error on another map. Shows to_qkv and,
  /// dense, the position term as pos_emb (B, H, N, N).
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Options options_;
  std::string path_;
  Conv2d to_qkv_;
  RelativeLogits tables_;
  AxisIndices indices_;
};

/// ResNet's bottleneck with attention for its 3x3 convolution: `net.0` (1x1), `net.1` (norm), ReLU, `net.3`
/// (attention), a mean over 2x2 when downsampling, `net.5` (norm), ReLU, `net.7` (1x1), `net.8` (norm, its
/// weight starting at zero); plus `shortcut.0`, `shortcut.1` and ReLU where widths or sizes differ, else the
/// input; ReLU.
class BotnetBlock {
 public:
  struct Options {
    std::int64_t in = 0, out = 0;
    std::int64_t proj_factor = 4;  ///< the attention's width is out / proj_factor
    std::int64_t heads = 4, head_width = 128;
    std::int64_t rows = 0, columns = 0;  ///< of the map that comes in
    bool relative = true;
    bool downsample = false;
    float bn_eps = 1e-5f;
  };
  BotnetBlock() = default;
  /// Throws Error when proj_factor does not divide `out`.
  BotnetBlock(const Weights& w, const Options& options);
  /// images (B, in, H, W) -> (B, out, H, W), or (H/2, W/2). Shows shortcut, net.0 unless its norm is
  /// folded, net.3 and net.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Options options_;
  std::string path_;
  ConvNorm shortcut_, down_, up_;
  BatchNorm norm2_;
  BotnetAttention attention_;
};

/// `depth` blocks `net.0`, `net.1`, ..., the first of which changes width and size. Shows each as net.i.
class BotnetStack {
 public:
  BotnetStack() = default;
  BotnetStack(const Weights& w, const BotnetBlock::Options& first, std::int64_t depth);
  Var operator()(const Context& ctx, Var x) const;

 private:
  std::string path_;
  std::vector<BotnetBlock> blocks_;
};

}  // namespace locant
