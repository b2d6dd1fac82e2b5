#pragma once

#include "autograd/tape.h"

namespace locant {

/// Losses of mask logits x (.., M, P) against 0 or 1 in target (.., M, P), p = 1 / (1 + e^-x); one number a
/// mask, shape (.., M). Throws Error when the shapes differ or a mask has no pixels.

/// Focal loss (Lin et al. 2017, equation 5), mean over the pixels:
///   -alpha_t (1 - p_t)^gamma log p_t,  p_t = p or 1 - p, alpha_t = alpha or 1 - alpha for target 1 or 0
Var focal_loss(const Context& ctx, const Var& logits, const Tensor& target, float alpha = 0.25f,
               float gamma = 2.0f);

/// Dice loss (Milletari et al. 2016) with one added above and below:
///   1 - (2 sum p t + 1) / (sum p + sum t + 1)
Var dice_loss(const Context& ctx, const Var& logits, const Tensor& target);

}  // namespace locant
