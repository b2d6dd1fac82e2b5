#pragma once

#include <cstdint>

#include "nn/layers.h"
#include "position/music_transformer.h"

namespace locant {

/// Music Transformer's self-attention (position/music_transformer.h) as in the PyTorch port of gwinndr:
/// `in_proj_weight` (3 C, C) and `in_proj_bias`, q then k then v; `Er` (rows, D) shared by the heads;
/// `out_proj`.
class MusicAttention {
 public:
  struct Options {
    std::int64_t width = 512, heads = 8;
    std::int64_t rows = 2048;  ///< of Er: the longest sequence
    bool causal = true;        ///< false: all keys are seen, those after the query without a position
    float dropout = 0.0f;      ///< of probabilities
  };
  MusicAttention() = default;
  /// Throws Error when the heads do not divide the width, or there are no rows.
  MusicAttention(const Weights& w, const Options& options);
  /// x (B, N, C) -> (B, N, C). Throws Error when N is above the rows.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Options options_;
  Var weight_, bias_;
  MusicTransformer music_;
  Linear out_;
};

}  // namespace locant
