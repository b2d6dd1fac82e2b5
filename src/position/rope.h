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

#include <cstdint>

#include "ops/rotate.h"
#include "position/encoding.h"

namespace locant {

// ---- index arithmetic

/// base^(-2t / d_rot), the angle of pair t from one position to the next.
double rope_frequency(std::int64_t t, std::int64_t d_rot, double base = 10000.0);

// ---- lowering

/// Angles (N, d_rot / 2) of positions first, first + 1, ... Throws Error unless d_rot is even and positive.
RotaryTable rope_table(std::int64_t N, std::int64_t d_rot, std::int64_t first = 0, double base = 10000.0);

// ---- the equation, as it stands

/// Channel c of row x (D) at position i.
template <class T>
T rope_channel(const T* x, std::int64_t c, double position, std::int64_t d_rot, Pairing pairing,
               double base = 10000.0) {
  if (c >= d_rot) return x[c];
  const std::int64_t half = d_rot / 2;
  const bool first = pairing == Pairing::neighbours ? c % 2 == 0 : c < half;
  const std::int64_t t = pairing == Pairing::neighbours ? c / 2 : c % half;
  const std::int64_t other = pairing == Pairing::neighbours ? c ^ 1 : (first ? c + half : c - half);
  const double angle = position * std::pow(base, -2.0 * static_cast<double>(t) / static_cast<double>(d_rot));
  return x[c] * T(std::cos(angle)) + x[other] * T(first ? -std::sin(angle) : std::sin(angle));
}

extern const Encoding kRope;

}  // namespace locant
