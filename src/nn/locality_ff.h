#pragma once

#include <cstdint>

#include "nn/weights.h"
#include "position/conv_ff.h"

namespace locant {

/// LocalViT's feed-forward (position/conv_ff.h) under the names of its `conv` sequence; packed with
/// the norms folded for inference.
class LocalityFfLayer {
 public:
  struct Options {
    std::int64_t in = 192, out = 192;
    std::int64_t kernel = 3, stride = 1;
    double expand_ratio = 4;
    FfActivation act = FfActivation::hard_swish;
    FfGate gate = FfGate::squeeze_excite;
    std::int64_t reduction = 4;   ///< squeeze_excite: hidden width in * expand_ratio / reduction
    std::int64_t eca_kernel = 3;  ///< eca
    bool residual = true;
    float bn_eps = 1e-5f;
  };
  LocalityFfLayer() = default;
  /// Throws Error on sizes below 1, or an even kernel.
  LocalityFfLayer(const Weights& w, const Options& options);
  /// images (B, in, h, w) -> (B, out, h', w').
  Var operator()(const Context& ctx, const Var& images) const;
  /// tokens (B, prefix + h w, in) -> (B, prefix + h' w', out), the prefix as it came: of it, `in` is `out`.
  Var operator()(const Context& ctx, const Var& tokens, Grid grid, std::int64_t prefix) const;

 private:
  void make_gate(const Weights& w, const Options& options, std::int64_t wide);

  LocalityFf ff_;
  PackedConvFf packed_;
};

}  // namespace locant
