#pragma once

#include <string>

#include "nn/conformer_attention.h"
#include "nn/conv_layers.h"
#include "nn/layers.h"

namespace locant {

// The Conformer of sooftware/conformer under its names. Everything is (batch, length, C).

/// `sequential.0` norm, `.2.conv` C -> 2 C by points, GLU, `.4.conv` depthwise, `.5` batch norm,
/// activation, `.7.conv` by points. No residual.
class ConformerConvModule {
 public:
  ConformerConvModule() = default;
  /// Throws Error when the kernel is even.
  ConformerConvModule(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C).
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  ConformerOptions options_;
  LayerNorm norm_;
  Linear expand_, project_;
  Conv1d depthwise_;
  BatchNorm batch_norm_;
  PackedDepthwise packed_;  // both, for inference
};

/// `sequential.0` norm, `.1.linear`, activation, `.4.linear`. No residual.
class ConformerFeedForward {
 public:
  ConformerFeedForward() = default;
  ConformerFeedForward(const Weights& w, const ConformerOptions& options);
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  ConformerOptions options_;
  LayerNorm norm_;
  Linear expand_, project_;
};

/// Half a feed-forward, attention, convolution (or these two the other way round), half a feed-forward, each
/// added to its input, and a norm: `sequential.0.module` to `sequential.3.module` and `sequential.4`.
class ConformerBlock {
 public:
  ConformerBlock() = default;
  ConformerBlock(const Weights& w, const ConformerOptions& options);
  /// x (B, N, C) -> (B, N, C). Shows sequential.0 to sequential.3.
  Var operator()(const Context& ctx, const Var& x, const ConformerCall& call) const;

 private:
  ConformerOptions options_;
  std::string path_;
  ConformerFeedForward first_, second_;
  ConformerAttentionModule attention_;
  ConformerConvModule conv_;
  LayerNorm norm_;
};

}  // namespace locant
