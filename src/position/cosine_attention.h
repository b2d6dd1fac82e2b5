#pragma once

// Cosine attention. Liu et al. 2022, "Swin Transformer V2", equation 2:
//
//   s_ij = tau_h cos(q_i, k_j),   tau_h = exp(min(logit_scale_h, ln 100)),   no 1 / sqrt(D)
//
// Enters: q and k, which become unit vectors (norms below 1e-12 are taken as that). Parameter: logit_scale
// (H) or (H, 1, 1), starts at ln 10. Gradient: through the norms; zero to a logit_scale that is clamped.
// Cost: two norms a token and head. Models: Swin V2, where swin_v2_cpb is added.

#include <cmath>
#include <complex>
#include <cstdint>

#include "ops/attention/attention.h"

namespace locant {

/// ln 100, rounded to float32 as the official code clamps with it.
inline constexpr float kLogitScaleMax = 4.605170249938965f;
inline constexpr float kLogitScaleStart = 2.302585092994046f;

/// q with unit vectors times tau_h, and k with unit vectors: (B, N, H D) each. Attend to them with scale 1.
/// Throws Error when the logit scale is not one number a head, or the heads do not split the width.
struct CosineQueryKey {
  Var q, k;
};
CosineQueryKey cosine_query_key(const Context& ctx, const Var& q, const Var& k, const Var& logit_scale,
                                std::int64_t heads);

/// The equation: dot = q_i.k_j, with both norms.
template <class T>
T cosine_score(T dot, T q_norm, T k_norm, T logit_scale) {
  const T tau = std::real(logit_scale) > static_cast<double>(kLogitScaleMax)
                    ? T(std::exp(static_cast<double>(kLogitScaleMax)))
                    : std::exp(logit_scale);
  return tau * dot / (q_norm * k_norm);
}

}  // namespace locant
