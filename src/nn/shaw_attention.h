#pragma once

#include <cstdint>

#include "nn/layers.h"
#include "position/shaw.h"

namespace locant {

/// Multi-head attention with relative vectors on keys and values (position/shaw.h), as the PyTorch port of
/// evelinehong builds it: `fc_q`, `fc_k`, `fc_v`, `fc_o`, tables shared by the heads.
class ShawAttention {
 public:
  struct Options {
    std::int64_t width = 512, heads = 8;
    std::int64_t K = 16;   ///< distances are clipped here
    float dropout = 0.0f;  ///< of probabilities
  };
  ShawAttention() = default;
  /// Throws Error when the heads do not divide the width, or K is negative.
  ShawAttention(const Weights& w, const Options& options);
  /// x (B, Nq, C), memory (B, Nk, C), x itself for self-attention -> (B, Nq, C). Shows fc_q and, dense, the
  /// vectors of every pair as relative_position_k and relative_position_v (Nq, Nk, D).
  Var operator()(const Context& ctx, const Var& x, const Var& memory) const;

 private:
  Options options_;
  std::string path_;
  Linear query_, key_, value_, out_;
  Shaw shaw_;
};

}  // namespace locant
