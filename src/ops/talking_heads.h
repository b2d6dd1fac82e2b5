#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

/// Mixing of heads around the softmax, Shazeer et al. 2020, "Talking-Heads Attention": rows are the heads
/// that come out.
struct TalkingHeads {
  Var before, before_bias;  ///< of scores: (H, H), (H)
  Var after, after_bias;    ///< of probabilities: (H, H), (H)
};

/// Self-attention on a joint projection qkv (B, N, 3 H D) -> (B, N, H D), with L, l before and W, w after:
///
///   S_h = q_h k_h^T / sqrt(D),  P_h = softmax(sum_g L[h, g] S_g + l[h]),  y_h = (sum_g W[h, g] P_g + w[h])
///   v_h
///
/// l[h] moves whole rows, which the softmax does not see: its gradient is 0. A tile of queries at a time,
/// forward and backward: N x N numbers are never held. Throws Error when the heads do not fit the width.
Var talking_heads_attention(const Context& ctx, const Var& qkv, const TalkingHeads& mix, std::int64_t heads);

}  // namespace locant
