#pragma once

#include <cstdint>
#include <string>

#include "nn/conv_layers.h"
#include "nn/conv_norm.h"
#include "nn/layers.h"
#include "position/axial_deeplab.h"

namespace locant {

/// Position-sensitive axial attention along the rows or the columns of a map, as csrhddlam's Axial-DeepLab
/// builds it (position/axial_deeplab.h): `qkv_transform.weight` (2 out, in, 1) without bias, channels of a
/// group [q | k | v] of out / groups / 2, as many, and out / groups; `bn_qkv`; `relative`; `bn_similarity`,
/// channels [q.k | q.R | k.R] of each group; `bn_output`, channels 2c content and 2c + 1 position; a mean
/// over stride x stride.
///
/// Evaluation folds bn_similarity and bn_output into the scales of the fused kernel. Training (ctx.train)
/// normalises the logits by the statistics of the batch, which takes them all: composed, 3 G n numbers for
/// each token of a line of n.
class AxialAttention {
 public:
  struct Options {
    std::int64_t in = 0, out = 0;
    std::int64_t groups = 8;
    std::int64_t span = 56;  ///< places that the table is made for; a line may be shorter
    std::int64_t stride = 1;
    GridAxis axis = GridAxis::rows;  ///< rows: along the height, each column by itself
    float bn_eps = 1e-5f;
  };
  AxialAttention() = default;
  /// Throws Error when the groups do not divide the channels into even parts, or a size is below 1.
  AxialAttention(const Weights& w, const Options& options);
  /// images (B, in, H, W) -> (B, out, H, W), or (H / stride, W / stride). Throws Error when a line is longer
  /// than the span. Shows, a row for each line of the batch, qkv_transform (unless folded), bn_qkv and
  /// bn_output (lines, C, n); dense, bn_similarity (lines, 3 G, n, n).
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  struct Parts {
    Var q, k, v;  // (B, N, G d), (B, N, G d), (B, N, G p)
  };
  struct Lines;  // the map as lines along the axis

  std::int64_t width() const { return options_.out / options_.groups; }  // p: of a group's values
  Parts parts_of(const Context& ctx, const Var& qkv) const;
  Var fused(const Context& ctx, const Parts& parts, const Lines& lines) const;
  Var separate_outputs(const Parts& parts, const Lines& lines) const;
  Var similarity(const Context& ctx, const Parts& parts, const Lines& lines) const;
  Var composed(const Context& ctx, const Parts& parts, const Lines& lines) const;
  AxialDeeplab tables(const Context& ctx) const;

  Options options_;
  std::string path_;
  Var relative_;
  Linear qkv_;
  PackedLinear folded_qkv_;  // with bn_qkv, for inference
  BatchNorm bn_qkv_, bn_similarity_, bn_output_;
};

/// ResNet's bottleneck with axial attention: `conv_down`, `bn1`, ReLU, `hight_block` (that is its name) along
/// the height, `width_block` along the width with the stride, ReLU, `conv_up`, `bn2` (its weight zero at the
/// start); plus the input, or `downsample.0`, `downsample.1` of it; ReLU.
class AxialBlock {
 public:
  struct Options {
    std::int64_t in = 0, planes = 0;
    std::int64_t expansion = 2, base_width = 64;
    std::int64_t groups = 8, span = 56, stride = 1;
    bool downsample = false;
    float bn_eps = 1e-5f;
  };
  AxialBlock() = default;
  /// Throws Error when the input cannot be added to the result and there is no downsample.
  AxialBlock(const Weights& w, const Options& options);
  /// images (B, in, H, W) -> (B, planes expansion, H / stride, W / stride). Shows hight_block and
  /// width_block; conv_down and conv_up unless their norms are folded.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  std::string path_;
  ConvNorm down_, up_, downsample_;
  AxialAttention height_, width_;
};

}  // namespace locant
