#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

struct Conv1dOptions {
  std::int64_t stride = 1, dilation = 1, groups = 1;
  std::int64_t pad_left = 0, pad_right = 0;  ///< zeros

  /// Output as long as the input at stride 1; an even kernel has one zero less on the left.
  static Conv1dOptions same(std::int64_t kernel, std::int64_t groups = 1);
  /// Output t sees inputs up to t.
  static Conv1dOptions causal(std::int64_t kernel, std::int64_t groups = 1);
};

/// x (B, C, L), weight (out, C / groups, k), bias (out) or undefined -> (B, out, L').
Var conv1d(const Context& ctx, const Var& x, const Var& weight, const Var& bias,
           const Conv1dOptions& options);

}  // namespace locant
