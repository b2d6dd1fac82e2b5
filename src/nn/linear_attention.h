#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "position/linear_attention.h"

namespace locant {

/// Multi-head linear attention (position/linear_attention.h) behind projections of any names.
class LinearAttentionLayer {
 public:
  struct Options {
    std::int64_t width = 256, heads = 8;
    FeatureMap map = elu_feature_map();
    bool causal = false, rotate = false;
    bool qkv_bias = true;
    float eps = 1e-6f;
    std::array<std::string, 3> projections = {"query_projection", "key_projection", "value_projection"};
    std::string out_projection = "out_projection";  ///< empty: none
  };
  LinearAttentionLayer() = default;
  /// Throws Error when the heads do not divide the width.
  LinearAttentionLayer(const Weights& w, const Options& options);
  /// x (B, Nq, C), memory (B, Nk, C), x itself for self-attention; key_lengths (B) or empty -> (B, Nq, C).
  /// Shows the projections under their names.
  Var operator()(const Context& ctx, const Var& x, const Var& memory,
                 const std::vector<std::int64_t>& key_lengths = {}) const;

 private:
  Options options_;
  std::string path_;
  std::array<Linear, 3> projections_;
  Linear out_;
};

}  // namespace locant
