#pragma once

#include "autograd/tape.h"
#include "ops/batch_norm.h"

namespace locant {

enum class Gate { sigmoid, hard_sigmoid };

/// What a gate looks at: images (B, C, H, W), or tokens (B, prefix + N, C), whose mean leaves the prefix out.
struct GateInput {
  ChannelAxis channels = ChannelAxis::second;
  std::int64_t prefix = 0;
};

/// Squeeze-and-excitation (Hu et al. 2018): x * gate(W2 relu(W1 mean(x) + b1) + b2), the mean over all
/// places. reduce (R, C[, 1, 1]), expand (C, R[, 1, 1]), biases may be undefined.
Var squeeze_excite(const Context& ctx, const Var& x, const Var& reduce, const Var& reduce_bias,
                   const Var& expand, const Var& expand_bias, Gate gate, const GateInput& input = {});
/// Efficient channel attention (Wang et al. 2020): x * gate(conv over channels of mean(x)), kernel (1, 1, k),
/// zeros at both ends.
Var efficient_channel_attention(const Context& ctx, const Var& x, const Var& kernel, Gate gate,
                                const GateInput& input = {});

}  // namespace locant
