#pragma once

// Linear attention: Katharopoulos et al. 2020, "Transformers are RNNs", equations 4 to 9:
//
//   o_i = phi(q_i) sum_j psi(k_j) v_j^T / (phi(q_i).sum_j psi(k_j) + eps)
//
// Feature maps, phi = psi unless named otherwise, x of D numbers:
//
//   elu      elu(x) + 1                    Katharopoulos, equation 7
//   relu     max(x, 0) + 1e-3              Choromanski et al. 2021, Performer's generalised attention
//   taylor   [x / |x|, 1]                  1 + cos(q, k), the first two terms of e^x; never negative
//   cosine   [r cos(pi i / 2L), r sin(pi i / 2L)], r = max(x, 0), token i of at most L: Qin et al. 2022,
//            cosFormer: relu(q).relu(k) cos(pi (i - j) / 2L)
//   a user's own, phi and psi apart
//
// Enters: in place of softmax. No scale. Encodings that have a linear form: those of tokens (sinusoids,
// tables, PEG) act before; rotations (Su et al. 2021, RoFormer, equation 19) turn features in the numerator
// alone, where weights may become negative, and for taylor in the denominator too, since they keep norms;
// decay, ALiBi's slopes outside the exponent, multiplies a pair's weight by e^(-m (i - j)), causal. Terms
// inside an exponent (Shaw, Transformer-XL, iRPE, SAM) have none. Parameters: none. Gradient: by hand in
// ops/linear_attention.h, maps by tape. Cost: (Nq + Nk) M (Dv + 1) multiply-adds a head instead of Nq Nk (D +
// Dv); sums of M (Dv + 1) numbers. Models: fast-transformers, Performer, cosFormer.

#include <cmath>
#include <complex>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "ops/linear_attention.h"
#include "position/shared/attention_path.h"

namespace locant {

// ---- index arithmetic

/// Angle of token i in the cosine map of at most L tokens.
inline double cosine_map_angle(std::int64_t i, std::int64_t L) {
  return 1.5707963267948966 * static_cast<double>(i) / static_cast<double>(L);
}

// ---- feature maps

/// phi and psi: x (B, N, H, D) -> (B, N, H, M), with one M.
struct FeatureMap {
  std::function<Var(const Context&ctx, const Var&x)> query, key;
  std::int64_t still = 0;    ///< last features that rotations leave as they are
  bool keeps_norms = false;  ///< the weights stay positive under rotation: it acts in the denominator too
};
FeatureMap elu_feature_map();
FeatureMap relu_feature_map(float offset = 1e-3f);
FeatureMap taylor_feature_map();
/// Throws Error below one token.
FeatureMap cosine_feature_map(std::int64_t longest);
/// elu, relu, taylor, cosine. Throws Error on another name.
FeatureMap feature_map(std::string_view name, std::int64_t longest);

// ---- lowering

/// Features of tokens turned as by rope, pairs (0, 1), (2, 3), ..: x (B, N, H M), the last `still` of a head
/// as they are. Throws Error when the others are none or odd in number.
Var rotate_features(const Context& ctx, const Var& x, std::int64_t heads, std::int64_t still,
                    double base = 10000.0);

/// q (B, Nq, H D), k (B, Nk, H D), v (B, Nk, H Dv) -> (B, Nq, H Dv); `rotate`: with rotations. composed: by
/// products of all pairs.
Var mapped_linear_attention(const Context& ctx, const FeatureMap& map, bool rotate, const Var& q,
                            const Var& k, const Var& v, const LinearAttentionOptions& options,
                            AttentionPath path = AttentionPath::fused);

// ---- the equation, as it stands

/// phi(x) of token i.
template <class T>
std::vector<T> linear_features(std::string_view map, const T* x, std::int64_t D, std::int64_t i,
                               std::int64_t longest) {
  std::vector<T> out;
  T square{};
  for (std::int64_t d = 0; d < D; ++d) square += x[d] * x[d];
  for (std::int64_t d = 0; d < D; ++d) {
    const T positive = std::real(x[d]) > 0 ? x[d] : T(0.0);
    if (map == "elu") out.push_back(std::real(x[d]) > 0 ? x[d] + 1.0 : std::exp(x[d]));
    if (map == "relu") out.push_back(positive + 1e-3);
    if (map == "taylor") out.push_back(x[d] / std::sqrt(square));
    if (map == "cosine") out.push_back(positive * std::cos(cosine_map_angle(i, longest)));
  }
  if (map == "taylor") out.push_back(T(1.0));
  for (std::int64_t d = 0; d < D && map == "cosine"; ++d)
    out.push_back(std::real(x[d]) > 0 ? x[d] * std::sin(cosine_map_angle(i, longest)) : T(0.0));
  return out;
}

}  // namespace locant
