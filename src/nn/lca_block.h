#pragma once

#include <cstdint>
#include <string>

#include "nn/layers.h"

namespace locant {

/// CeiT's layer-wise class-token attention: the last class token asks all of them. `norm1`, `attn.qkv` (rows
/// q, k, v), `attn.proj`, `norm2`, `feedforward.fc1`, `feedforward.fc2`. Yuan et al. 2021, CeiT, section 3.3.
class LcaBlock {
 public:
  struct Options {
    std::int64_t width = 192, heads = 3;
    std::int64_t mlp_ratio = 4;
    bool qkv_bias = true;
    float norm_eps = 1e-6f;
    float dropout = 0.0f;  ///< of probabilities
  };
  LcaBlock() = default;
  /// Throws Error when the heads do not divide the width, or the ratio is below 1.
  LcaBlock(const Weights& w, const Options& options);
  /// tokens (B, L, C), one of each layer, the last one last -> (B, 1, C). Shows attn and norm2 (B, 1, C).
  Var operator()(const Context& ctx, const Var& tokens) const;

 private:
  Options options_;
  std::string path_;
  LayerNorm norm1_, norm2_;
  Linear qkv_, proj_;
  Mlp feedforward_;
};

}  // namespace locant
