#pragma once

#include <cstdint>

#include "autograd/tape.h"

namespace locant {

/// Which channels of a head turn together, with P pairs: neighbours (2p, 2p + 1), or halves (p, p + P).
enum class Pairing { neighbours, halves };

/// Angles with their cosines and sines, made once for q and k and for all layers that share them.
struct RotaryTable {
  Var angles;  ///< (N, P) shared by the heads, or (N, H, P)
  Tensor cosines, sines;
};
/// Throws Error unless the angles have two or three axes.
RotaryTable rotary_table(const Var& angles);

/// Turns pair p of token n, head h of x (B, prefix + N, H D) by its angle a: (x_a cos a - x_b sin a, x_b cos
/// a + x_a sin a). The first `prefix` tokens, and channels beyond 2 P, stay as they are. Gradient: the
/// inverse rotation; of an angle: sum of dy_b y_a - dy_a y_b.
Var rotate(const Context& ctx, const Var& x, std::int64_t heads, const RotaryTable& table, Pairing pairing,
           std::int64_t prefix = 0);

}  // namespace locant
