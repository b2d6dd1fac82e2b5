#pragma once

#include <array>
#include <cstdint>

#include "nn/weights.h"
#include "ops/linear.h"

namespace locant {

/// q, k and v of torch.nn.MultiheadAttention: `in_proj_weight` (3 C, C; rows q, k, v), `in_proj_bias` (3 C).
/// Packed once for inference. Starts Xavier-uniform over the three as one matrix.
class JointProjection {
 public:
  /// Whether all are of one input, or each of its own.
  enum class Of { one, three };
  JointProjection() = default;
  JointProjection(const Weights& w, std::int64_t width, Of of);
  /// x (B, N, C) -> (B, N, 3 C). For Of::one.
  Var operator()(const Context& ctx, const Var& x) const;
  /// q, k or v (t 0, 1, 2) of x. For Of::three.
  Var part(const Context& ctx, const Var& x, std::int64_t t) const;

 private:
  std::int64_t width_ = 0;
  Var weight_, bias_;                     // to train
  std::array<PackedLinear, 3> packed_{};  // for inference; of one: the first
};

}  // namespace locant
