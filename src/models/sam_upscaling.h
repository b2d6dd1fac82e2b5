#pragma once

#include <string>

#include "nn/layers.h"

namespace locant {

/// The mask decoder's way from the image's places to sixteen times as many (mask_decoder.py,
/// `output_upscaling`): a transposed convolution, a norm over the channels, GELU, another transposed
/// convolution, GELU; names `0`, `1`, `3`. Kernel and stride of both are 2, so that each is a product of the
/// tokens, and nothing is laid out as pictures in between.
class SamUpscaling {
 public:
  SamUpscaling() = default;
  SamUpscaling(const Weights& w, std::int64_t width, float norm_eps);
  /// Tokens (B, rows * columns, C) -> (B, rows * columns * 16, C / 8), the sixteen of a token behind each
  /// other: upper, lower half; left, right half; and so again within each quarter. Shows "<path>".
  Var operator()(const Context& ctx, const Var& tokens, std::int64_t rows, std::int64_t columns) const;
  /// (B, M, rows * columns * 16) in this order -> (B, M, 4 rows, 4 columns).
  static Var to_images(const Context& ctx, const Var& places, std::int64_t rows, std::int64_t columns);

 private:
  /// Transposed convolution of kernel and stride 2, checkpoint weight (in, out, 2, 2):
  /// (B, N, in) -> (B, 4 N, out).
  class Doubling {
   public:
    Doubling() = default;
    Doubling(const Weights& w, std::int64_t in, std::int64_t out);
    Var operator()(const Context& ctx, const Var& x, Activation act) const;

   private:
    Var matrix(const Context& ctx, const Var& weight) const;
    static Var four_times(const Context& ctx, const Var& bias);

    std::int64_t in_ = 0, out_ = 0;
    Var weight_, bias_;
    PackedLinear packed_;
  };

  std::string path_;
  Doubling first_, second_;
  LayerNorm norm_;
};

}  // namespace locant
