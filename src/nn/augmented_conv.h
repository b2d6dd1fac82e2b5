#pragma once

#include <cstdint>
#include <string>

#include "nn/conv_layers.h"
#include "position/relative_logits.h"

namespace locant {

/// Attention-augmented convolution (Bello et al. 2019; position/relative_logits.h) as leaderj1001's port
/// builds it: a convolution beside attention on the map that a convolution of the same kernel and stride
/// makes, concatenated. `conv_out`, `qkv_conv`, `attn_out`, and with relative logits `key_rel_w`,
/// `key_rel_h`.
class AugmentedConv {
 public:
  /// How a head's result becomes a map: the paper's operator puts channel c of position p at (c, p); the port
  /// reads its matrix (positions, channels) as (channels, positions) without transposing it, and its weights
  /// are trained that way.
  enum class Maps { reshaped, transposed };
  /// Where the attention's stride acts: q, k and v are made with it (the port), or a mean over 3x3, padding
  /// not counted, follows the attention of all places (the paper).
  enum class Stride { projections, mean_after };
  struct Options {
    std::int64_t in = 0, out = 0;
    std::int64_t kernel = 3, stride = 1, pad = 1;
    std::int64_t dk = 0, dv = 0;  ///< channels of all keys and of all values
    std::int64_t heads = 1;
    bool relative = true;
    std::int64_t rows = 0, columns = 0;  ///< of the map that attends, for which the tables are made
    Maps maps = Maps::reshaped;
    std::int64_t qkv_kernel = 0;  ///< odd, padded to keep the map; 0: kernel and pad as the convolution
    Stride attention_stride = Stride::projections;
  };
  AugmentedConv() = default;
  /// Throws Error when the heads do not divide dk and dv, dv is not in 1 .. out - 1, or the map is empty.
  AugmentedConv(const Weights& w, const Options& options);
  /// images (B, in, H, W) -> (B, out, H', W'). Throws Error when a relative layer meets another map than the
  /// one it was made for. Shows conv_out, qkv_conv, attn_out.
  Var operator()(const Context& ctx, const Var& x) const;

 private:
  Var attend(const Context& ctx, const Var& qkv) const;
  Var strided(const Context& ctx, const Var& map) const;

  Options options_;
  std::string path_;
  RelativeLogits tables_;
  AxisIndices indices_;
  Conv2d conv_out_, qkv_conv_, attn_out_;
};

}  // namespace locant
