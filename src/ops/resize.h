#pragma once

#include "autograd/tape.h"

namespace locant {

/// Resampling rules of position tables (align_corners false unless named):
///   bilinear           two taps, borders clamped, no antialias
///   bicubic            a = -0.75, four taps, borders clamped, no antialias
///   bicubic_antialias  a = -0.5, support 2 max(scale, 1), weights renormalised
///   bilinear_antialias triangle, support max(scale, 1), weights renormalised
///   bicubic_corners    a = -0.75, align_corners true (torchvision's ViT)
enum class ResizeRule { bilinear, bicubic, bicubic_antialias, bilinear_antialias, bicubic_corners };

/// One axis from m to n samples. `offset` replaces the scale m/n by m/(n + offset) (Meta's DINOv2: 0.1;
/// bicubic only). Grid (1 or B, H, W, C) -> (.., rows, columns, C).
Var resize(const Context& ctx, const Var& grid, std::int64_t rows, std::int64_t columns, ResizeRule rule,
           double offset = 0.0);

}  // namespace locant
