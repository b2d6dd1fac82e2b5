#pragma once

// Rotary position embedding. Su et al. 2021, "RoFormer", section 3.2:
//
//   q'_i = R_i q_i,  k'_j = R_j k_j,  s_ij = q'_i.k'_j / sqrt(D) = q_i.R_{j-i} k_j / sqrt(D)
//   R_i turns channel pair t by the angle i base^(-2t / d_rot),  t < d_rot / 2
//
// Enters: q and k, before the scores; v stays. Only the first d_rot channels of a head turn. No parameters.
// Pairs: neighbours (RoFormer, GPT-J), or halves (GPT-NeoX, LLaMA as published by Hugging Face, wav2vec2
// Conformer). A checkpoint of one kind runs as the other after permuting the rows of its q and k projections:
// even channels first, then odd ones. Gradient: the inverse rotation. Cost: 4 multiply-adds a pair and token.
// Positions need float32 angles: made in double here, rounded once.

#include <cmath>
#include <cstdint>

#include "ops/rotate.h"

namespace locant {

// ---- index arithmetic

/// base^(-2t / d_rot), the angle of pair t from one position to the next.
inline double rope_frequency(std::int64_t t, std::int64_t d_rot, double base = 10000.0) {
  return std::pow(base, -2.0 * static_cast<double>(t) / static_cast<double>(d_rot));
}

// ---- lowering

/// Angles (N, d_rot / 2) of positions first, first + 1, ... Throws Error unless d_rot is even and positive.
RotaryTable rope_table(std::int64_t N, std::int64_t d_rot, std::int64_t first = 0, double base = 10000.0);

// ---- the equation, as it stands

/// Channel c of row x (D) after pair t of its first d_rot channels has turned by angle(t).
template <class T, class Angle>
T rope_channel(const T* x, std::int64_t c, std::int64_t d_rot, Pairing pairing, const Angle& angle) {
  if (c >= d_rot) return x[c];
  const std::int64_t half = d_rot / 2;
  const bool halves = pairing == Pairing::halves, first = halves ? c < half : c % 2 == 0;
  const std::int64_t other = halves ? (first ? c + half : c - half) : c ^ 1;
  const auto a = angle(halves ? c % half : c / 2);
  return x[c] * std::cos(a) + x[other] * (first ? -std::sin(a) : std::sin(a));
}

}  // namespace locant
