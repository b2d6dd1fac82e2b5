#pragma once

#include <string>

#include "nn/conv_layers.h"
#include "nn/layers.h"

namespace locant {

/// What follows SAM's image encoders (image_encoder.py, `neck`): a 1x1 convolution, a norm over the channels,
/// a 3x3 convolution and another norm; names `0` to `3`, no biases.
class SamNeck {
 public:
  SamNeck() = default;
  SamNeck(const Weights& w, std::int64_t in, std::int64_t out, float norm_eps);
  bool defined() const { return reduce_.defined(); }
  /// Tokens (B, rows * columns, in) -> images (B, out, rows, columns). Shows "<path>.0",
  /// "<path>.1" and "<path>".
  Var operator()(const Context& ctx, const Var& tokens, std::int64_t rows, std::int64_t columns) const;

 private:
  std::string path_;
  Linear reduce_;
  LayerNorm norm1_, norm2_;
  Conv2d conv_;
};

}  // namespace locant
