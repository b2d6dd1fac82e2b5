#pragma once

#include <cstdint>

#include "nn/conv_layers.h"
#include "nn/layers.h"
#include "ops/attention/attention.h"
#include "position/grid.h"

namespace locant {

/// The attention of the survey's CvT, as its code computes or corrected to what the official code does
/// (docs/errata.md). Of x = [t | X], t the class token and X the tokens as a picture (C, h, w):
///
///   Z_p = P_p BN(D_p * X + d_p) + b_p  for p in q, k, v;   D_p depthwise K x K, P_p (H D, C)
///   y   = softmax([t | Z_q] [t | Z_k]^T / sqrt(D)) [t | Z_v],   then W_o y + b_o unless H = 1 and D = C
///
/// The class token is q, k and v as it is, split into heads, which needs H D = C; D_k and D_v have stride 1.
/// Corrected, it goes through the same product, P_p t + b_p; keys and values have stride 2; the scale is
/// C^-1/2; there is no d_p, which the norm takes away again, and always W_o. Names: `to_q`, `to_k`, `to_v`,
/// each of `depthwise` (C, 1, K, K), `bn`, `pointwise` (H D, C, 1, 1); `to_out.0`. Starts as PyTorch's
/// layers. CvT: position/conv_projection.h, models/cvt.cc.
class SurveyCvtAttention {
 public:
  enum class Form { literal, corrected };
  struct Options {
    std::int64_t width = 64, heads = 1, head_dim = 64;
    std::int64_t kernel = 3;
    bool cls_token = true;  ///< `last_stage`, which the survey sets in every stage
    Form form = Form::literal;
  };
  SurveyCvtAttention() = default;
  /// Throws Error when the kernel is even, a width is below 1, or the heads as they are do not hold the class
  /// token.
  SurveyCvtAttention(const Weights& w, const Options& options);
  /// x (B, h w, C), with the class token (B, 1 + h w, C) -> the same. Throws Error when x has another width
  /// or does not hold the grid.
  Var operator()(const Context& ctx, const Var& x, Grid grid) const;

 private:
  /// `depthwise`, `bn`, `pointwise`.
  class Projection {
   public:
    Projection() = default;
    Projection(const Weights& w, const Options& options, std::int64_t stride);
    /// (B, 1 + h w, C) -> (B, 1 + h' w', H D); without the class token alike.
    Var operator()(const Context& ctx, const Var& x, Grid grid) const;

   private:
    bool cls_token_ = true, cls_as_it_is_ = true;
    Conv2d depthwise_;
    BatchNorm norm_;
    PackedDepthwise packed_;  // both, for inference
    Linear pointwise_;
  };

  Options options_;
  AttentionOptions attention_;
  Projection query_, key_, value_;
  Linear out_;
};

}  // namespace locant
