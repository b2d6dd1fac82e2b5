#pragma once

#include <cstdint>

#include "nn/conv_layers.h"

namespace locant {

/// `ConvolutionalPositionEmbedding` of the survey of position encodings, with the argument that its call
/// lacks: a dense convolution of the tokens as a picture (C, 1, N), without PEG's residual (docs/errata.md).
/// Of its K x K kernel only the middle row meets anything but zeros:
///
///   y[n] = b + sum_v W[:, :, K / 2, v] x[n + v - K / 2]
///
/// `conv` (C, C, K, K) and bias, K odd. Starts as PyTorch's convolution. PEG: position/peg.h.
class SurveyConvEmbedding {
 public:
  SurveyConvEmbedding() = default;
  /// Throws Error when the kernel is even.
  SurveyConvEmbedding(const Weights& w, std::int64_t width, std::int64_t kernel = 3);
  /// tokens (B, N, C) -> the same.
  Var operator()(const Context& ctx, const Var& tokens) const;

 private:
  Conv2d conv_;
};

}  // namespace locant
