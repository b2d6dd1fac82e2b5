#pragma once

#include <optional>

#include "nn/conv_layers.h"

namespace locant {

/// A convolution without bias and its batch norm, names `c` and `bn` (LeViT, TinyViT) or any. For inference
/// the norm is folded into the kernel once:
///
///   y = s (W * x) + t = (s W) * x + t,   s = weight / sqrt(running_var + eps),  t = bias - running_mean s
class ConvNorm {
 public:
  struct Options {
    std::int64_t kernel = 1, stride = 1, pad = 0, groups = 1;
    float eps = 1e-5f;
    Init norm_init = Init::ones();                   ///< of the norm's weight
    std::optional<Init> weight_init = std::nullopt;  ///< of the kernel; none: PyTorch's
  };
  ConvNorm() = default;
  /// Throws Error unless the groups divide both widths.
  ConvNorm(const Weights& w, std::int64_t in, std::int64_t out, const Options& options)
      : ConvNorm(w / "c", w / "bn", in, out, options) {}
  /// The same with a path for each.
  ConvNorm(const Weights& conv, const Weights& bn, std::int64_t in, std::int64_t out, const Options& options);
  bool defined() const { return folded_.defined() || norm_.defined(); }
  /// images (B, in, H, W) -> (B, out, H', W').
  Var operator()(const Context& ctx, const Var& images) const;

 private:
  Conv2d conv_;
  BatchNorm norm_;
  PackedConv2d folded_;  // both, for inference
  Conv2dOptions options_;
};

}  // namespace locant
