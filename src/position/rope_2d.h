#pragma once

// Rotary position embedding on a grid. Each pair p of channels of token (y, x) turns by an angle:
//
//   axial   half of the D / 2 pairs by x f_j, half by y f_j,  f_j = theta^(-4j / D),  j < D / 4
//   mixed   a_p = fx_p x + fy_p y, learned per head (Heo et al. 2024, "Rotary Position Embedding for Vision
//           Transformer", equation 8)
//
//   kind      first half   pairs        theta    coordinates
//   rope_vit  x            neighbours   100      0, 1, 2, ...                        (naver-ai/rope-vit)
//   sam2      x            neighbours   10000    0, 1, 2, ...                        (SAM 2 memory attention)
//   eva02     y            neighbours   10000    rescaled to the grid of pre-training (EVA-02, timm)
//   dinov3    y            halves       100      2 pi (2 (i + 0.5) / side - 1), f_j = theta^(-4j / D)
//
// Enters: q and k; prefix tokens (class, registers) stay. Parameters: none; mixed: "freqs" (2, H D / 2) a
// layer (files hold (2, depth, H D / 2)). Gradient: the inverse rotation; d freqs through the angles. Cost: 4
// multiply-adds a pair and token.

#include <cstdint>

#include "ops/rotate.h"

namespace locant {

enum class Rope2dKind { rope_vit, sam2, eva02, dinov3 };

struct Rope2d {
  Rope2dKind kind = Rope2dKind::rope_vit;
  /// eva02: the grid of pre-training that coordinates are rescaled to; 0: as they are.
  std::int64_t reference_rows = 0, reference_columns = 0;
  Pairing pairing() const { return kind == Rope2dKind::dinov3 ? Pairing::halves : Pairing::neighbours; }
};

// ---- index arithmetic

/// Angle of pair p (of D / 2) for token (y, x) of a grid of rows x columns.
double rope_2d_angle(const Rope2d& rope, std::int64_t rows, std::int64_t columns, std::int64_t D,
                     std::int64_t y, std::int64_t x, std::int64_t p);

// ---- lowering

/// Angles (rows columns, D / 2). Throws Error unless 4 divides D.
RotaryTable rope_2d_table(const Rope2d& rope, std::int64_t rows, std::int64_t columns, std::int64_t D);

/// Angles (rows columns, H, D / 2) of learned frequencies (2, H D / 2), x first.
RotaryTable rope_mixed_table(const Context& ctx, const Var& freqs, std::int64_t rows, std::int64_t columns,
                             std::int64_t heads);

/// The official start of `freqs` (2, H D / 2): theta 10, a random direction a head.
Tensor rope_mixed_init(std::int64_t heads, std::int64_t D, std::uint64_t seed);

}  // namespace locant
