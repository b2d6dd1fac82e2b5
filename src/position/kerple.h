#pragma once

// KERPLE: Chi et al. 2022, "KERPLE: Kernelized Relative Positional Embedding for Length Extrapolation":
//
//   logarithmic: S[h, i, j] = q_i.k_j / sqrt(D) - p_h ln(1 + a_h |i - j|)
//   power:       S[h, i, j] = q_i.k_j / sqrt(D) - a_h |i - j|^p_h
//
// Enters: score, unscaled, each layer with its own numbers. Parameters: `bias_p`, `bias_a` (H, 1, 1). Init: p
// uniform in (0, 2), a in (0, 1). They count as no less than 0.01, and p of the power form as no more than 2;
// the official code clamps the stored numbers, so that the gradient passes. Gradient: of the table of
// distances by the kernel, of p and a by the tape. Cost: one look-up and addition a score, H max(Nq, Nk)
// logarithms or powers. Models: GPT-NeoX variants.

#include <cmath>
#include <complex>
#include <cstdint>

#include "ops/attention/attention.h"

namespace locant {

enum class KerpleForm { logarithmic, power };

// ---- parameters

struct Kerple {
  static constexpr const char* kP = "bias_p";
  static constexpr const char* kA = "bias_a";
  static constexpr float kLeast = 0.01f, kMostPower = 2.0f;
  KerpleForm form = KerpleForm::logarithmic;
  Var p = {}, a = {};  ///< (H, 1, 1)
  bool causal = true;
};

// ---- lowering

/// What distances 0 .. count - 1 add: (count, H). Gradient to p and a, as though the bounds were not there.
/// Throws Error when p and a are not (heads, 1, 1).
Var kerple_table(const Context& ctx, const Kerple& kerple, std::int64_t heads, std::int64_t count);

/// Adds the term, and the mask when causal. `past` keys stand before the first query.
void add_kerple(const Context& ctx, const Kerple& kerple, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
                AttentionOptions& options);

// ---- the equation, as it stands

template <class T>
T kerple_score(T qk, KerpleForm form, T p, T a, std::int64_t i, std::int64_t j) {
  const double distance = static_cast<double>(i < j ? j - i : i - j);
  if (form == KerpleForm::logarithmic) return qk - p * std::log(1.0 + a * distance);
  return distance == 0 ? qk : qk - a * std::exp(p * std::log(distance));
}

}  // namespace locant
