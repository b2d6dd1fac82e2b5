#pragma once

#include "nn/conv_layers.h"

namespace locant {

/// A convolution without bias and its batch norm, names `c` and `bn` (LeViT, TinyViT). For inference the norm
/// is folded into the kernel once:
///
///   y = s (W * x) + t = (s W) * x + t,   s = weight / sqrt(running_var + eps),  t = bias - running_mean s
class ConvNorm {
 public:
  struct Options {
    std::int64_t kernel = 1, stride = 1, pad = 0, groups = 1;
    float eps = 1e-5f;
    Init norm_init = Init::ones();  ///< of the norm's weight
  };
  ConvNorm() = default;
  /// Throws Error unless the groups divide both widths.
  ConvNorm(const Weights& w, std::int64_t in, std::int64_t out, const Options& options);
  /// images (B, in, H, W) -> (B, out, H', W').
  Var operator()(const Context& ctx, const Var& images) const;

 private:
  Conv2d conv_;
  BatchNorm norm_;
  PackedConv2d folded_;  // both, for inference
  Conv2dOptions options_;
};

}  // namespace locant
