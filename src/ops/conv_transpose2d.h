#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

struct ConvTranspose2dOptions {
  std::int64_t stride_rows = 1, stride_columns = 1;
  std::int64_t pad_rows = 0, pad_columns = 0;
  std::int64_t output_pad_rows = 0, output_pad_columns = 0;
  std::int64_t groups = 1;
};

/// Gradient of conv2d with respect to its input, as a layer: x (B, C, H, W), weight (C, out / groups, kh,
/// kw), bias (out) or undefined -> (B, out, (H - 1) stride - 2 pad + kh + output_pad, ..).
Var conv_transpose2d(const Context& ctx, const Var& x, const Var& weight, const Var& bias,
                     const ConvTranspose2dOptions& options);

}  // namespace locant
