#pragma once

// Fourier position code of XCiT. El-Nouby et al. 2021, "XCiT: Cross-Covariance Image Transformers", appendix
// A:
//
//   x_(y, x) + W [ row code | column code ] + b,   code_i = sin, cos, sin, ... of z T^(-2 floor(i / 2) / d)
//   z = 2 pi (y + 1) / (rows + 1e-6),   d = 32 channels an axis, T = 10000
//
// Enters: tokens, once, behind the patch embedding. Parameters: "pos_embed.token_projection.weight" (C, 2 d,
// 1, 1) and ".bias" (C), a 1 x 1 convolution. The code is DETR's (sincos.h, detr). Made for the grid at hand,
// so any size works without resizing. Gradient: through the projection. Cost: 2 N d C once an image size.

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

inline constexpr std::int64_t kFourierHidden = 32;

/// (1, rows columns, C). weight (C, 2 d) or (C, 2 d, 1, 1), bias (C). Throws Error when they do not fit.
Var fourier_position(const Context& ctx, const Var& weight, const Var& bias, std::int64_t rows,
                     std::int64_t columns, double temperature = 10000.0);

}  // namespace locant
