#pragma once

// ALiBi: Press et al. 2022, "Train Short, Test Long", section 3:
//
//   S[h, i, j] = q_i.k_j / sqrt(D) - m_h |i - j|,   m_h = 2^(-8 (h + 1) / H) where H is a power of two
//
// For another H: the slopes of the power of two below, then every other one of the power above. Enters:
// score, unscaled. Causal in the paper; encoders take the absolute distance in both directions. Parameters:
// none; the slopes may be learned (H). Gradient: dm_h = -sum dS |i - j|, by kernel and tape. Cost: one
// look-up and addition a score, from a table of max(Nq, Nk) distances a head. Models: BLOOM, MPT.

#include <cmath>
#include <cstdint>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

/// m_h of H heads.
inline double alibi_slope(std::int64_t h, std::int64_t H) {
  std::int64_t power = 1;
  while (2 * power <= H) power *= 2;
  if (h < power) return std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(power));
  return std::exp2(-4.0 * static_cast<double>(2 * (h - power) + 1) / static_cast<double>(power));
}

// ---- parameters

/// (H), the paper's. Throws Error unless there is a head.
Tensor alibi_slopes(std::int64_t heads);

struct Alibi {
  static constexpr const char* kSlopes = "slopes";
  Var slopes;  ///< (H)
  bool causal = true;
};

// ---- lowering

/// Adds the term, and the mask when causal. `past` keys stand before the first query. Throws Error when there
/// is not one slope a head.
void add_alibi(const Context& ctx, const Alibi& alibi, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
               AttentionOptions& options);

// ---- the equation, as it stands

template <class T>
T alibi_score(T qk, T slope, std::int64_t i, std::int64_t j) {
  return qk - slope * static_cast<double>(i < j ? j - i : i - j);
}

}  // namespace locant
