#pragma once

#include <cstdint>

#include "nn/weights.h"
#include "position/conv_ff.h"

namespace locant {

/// CeiT's locally-enhanced feed-forward (position/conv_ff.h): `conv1`, `conv2`, `conv3`, and `bn1`, `bn2`,
/// `bn3` unless without norms; packed with the norms folded for inference.
class LeffLayer {
 public:
  struct Options {
    std::int64_t width = 192, hidden = 768;
    std::int64_t kernel = 3;
    bool batch_norm = true;
    float bn_eps = 1e-5f;
  };
  LeffLayer() = default;
  /// Throws Error on sizes below 1, or an even kernel.
  LeffLayer(const Weights& w, const Options& options);
  /// x (B, prefix + h w, C) -> the same, the prefix as it came. Shows conv1, conv2, conv3 as images unless
  /// packed.
  Var operator()(const Context& ctx, const Var& x, Grid grid, std::int64_t prefix) const;

 private:
  Leff leff_;
  PackedConvFf packed_;
};

}  // namespace locant
