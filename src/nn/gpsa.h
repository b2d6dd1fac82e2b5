#pragma once

#include <cstdint>
#include <string>

#include "nn/layers.h"
#include "position/gpsa.h"

namespace locant {

/// ConviT's gated positional self-attention (position/gpsa.h): `qk` (rows q, then k) and `v` without bias,
/// `proj`, `pos_proj`, `gating_param`.
class GpsaAttention {
 public:
  struct Options {
    std::int64_t width = 192, heads = 4;
    bool qkv_bias = false;
    std::int64_t rows = 14, columns = 14;
    float dropout = 0.0f;  ///< of the content's probabilities
  };
  GpsaAttention() = default;
  /// Throws Error when the heads do not divide the width or the grid is empty.
  GpsaAttention(const Weights& w, const Options& options);

  /// x (B, rows * columns, C) -> the same. Shows qk, v and, dense, the positional exponents as pos_proj (B,
  /// N, N, H) and the mixed probabilities as attention (B, H, N, N). Throws Error on another number of
  /// tokens.
  Var operator()(const Context& ctx, const Var& x) const;
  /// Tokens that each head looks away on average, (H): gpsa_attention_distance of this layer on x.
  Tensor attention_distance(const Var& x) const;

  /// The paper's local start of a layer made from `w` in train mode: v the identity, pos_proj as
  /// gpsa_local_weight, the gates 1. Throws Error when `w` holds no such layer.
  static void start_locally(const Weights& w, double strength = 1.0);

 private:
  void show_pairs(const Context& ctx, const Var& q, const Var& k) const;
  Grid grid() const { return {1, options_.rows, options_.columns}; }
  Options options_;
  std::string path_;
  Linear qk_, v_, proj_;
  Gpsa gpsa_;
};

}  // namespace locant
