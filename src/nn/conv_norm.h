#pragma once

#include <optional>
#include <string>

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
  /// images (B, in, H, W) -> (B, out, H', W'). Shows the convolution alone as `shown` unless that is empty or
  /// the norm folded.
  Var operator()(const Context& ctx, const Var& images, const std::string& shown = {}) const;
  /// The same of a grid's tokens (B, h w, in) -> (B, h' w', out); a depthwise one on channels that lie last.
  /// Throws Error under the name of `op` when the tokens do not fit the grid.
  Var of_tokens(const Context& ctx, const char* op, const Var& tokens, Grid grid) const;

 private:
  Conv2d conv_;
  BatchNorm norm_;
  PackedConv2d folded_;  // both, for inference
  PackedDepthwise depthwise_;
  Conv2dOptions options_;
};

}  // namespace locant
