#pragma once

#include <cstdint>

#include "nn/conv_layers.h"

namespace locant {

/// The `SASA` class of the survey of position encodings as its code computes, errors included
/// (docs/errata.md); the paper's layer is position/sasa.h. Zeros are put around the picture before the biased
/// 1 x 1 convolutions, and (B, C, H, W, K, K) is read as (B, heads, H, W, C / heads, K K) where it lies, so
/// that a group g of one query and K K keys mixes places into channels. Query channels and encoding channels
/// are summed apart:
///
///   S[g, z] = q_g.k_gz + (sum_d q_gd) e_z,   e_(u, v) = sum_c (Eh[c, u] + Ew[c, v]),   z = u K + v
///           = q_g.(k_gz + e_z 1),            y_g = sum_z softmax_z(S)[g, z] v_gz
///
/// Parameters, in order: `rel_encoding_h` (C/2, K, 1), `rel_encoding_w` (C/2, 1, K), `k_conv`, `q_conv`,
/// `v_conv`. Starts at normal 1 for the encodings, PyTorch's convolutions for the rest.
class SurveySasa {
 public:
  struct Options {
    std::int64_t in = 0, out = 0;  ///< out: of q, k and v; even
    std::int64_t kernel = 7, heads = 8;
  };
  SurveySasa() = default;
  /// Throws Error when the heads do not divide `out`, or it is odd.
  SurveySasa(const Weights& w, const Options& options);
  /// images (B, in, H, W) -> (B, out, H, W).
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Options options_;
  Var rows_, columns_;
  Conv2d key_, query_, value_;
};

}  // namespace locant
