#pragma once

// DeBERTa's disentangled attention. He et al. 2020, equations 2 to 4; 2021 (v3):
//
//   s_ij = (q_i.k_j + q_i.Kr[I(i, j)] + k_j.Qr[I(i, j)]) / sqrt(t D)       content, c2p, p2c
//   I(i, j) = clip(f(i - j) + S, 0, 2S - 1)                                query minus key, in both terms
//   v1: f(x) = x;   v2, v3: f(x) = x for |x| <= S/2, else beyond that logarithmic, reaching S - 1 at P - 1:
//       f(x) = sign(x) (ceil(ln(|x| / (S/2)) / ln((P-1) / (S/2)) (S/2 - 1)) + S/2)
//
// t = 1 + the number of position terms, 3 for c2p|p2c: the scale covers the content too. The paper writes
// Qr[I(j, i)]; its code, and every checkpoint, reads I(i, j). Enters: score. Parameters: one table
// "rel_embeddings.weight" (2S, C) for all layers, N(0, 0.02); Kr = Rel Wk, Qr = Rel Wq by projections of each
// layer: "pos_proj.weight" without bias and "pos_q_proj" (v1), or those of the content, "key_proj" and
// "query_proj" (share_att_key, v2 and v3), then after a layer norm of Rel. S is max_relative_positions (512)
// in v1, position_buckets (256) in v2 and v3, where P = max_relative_positions = 512. Gradient: bucket tables
// by the kernel, rest by tape. Cost: (Nq + Nk) rows D multiply-adds a head, rows <= min(2S, Nq + Nk - 1)
// those that occur; two look-ups a score. Models: DeBERTa v1, v2, v3.

#include <cmath>
#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"

namespace locant {

// ---- index arithmetic

struct DebertaBuckets {
  std::int64_t S = 256;             ///< half the rows of the table
  std::int64_t max_position = 512;  ///< P; 0: no logarithm (v1)
  /// Distances are clipped to +-(P - 1) first, as in Microsoft's code; Hugging Face does not, which moves
  /// distances of -P and less from row 1 to row 0.
  bool clip_first = false;
};

/// f(i - j), before S is added and the result clipped.
inline std::int64_t deberta_bucket(const DebertaBuckets& buckets, std::int64_t distance) {
  const std::int64_t P = buckets.max_position, mid = buckets.S / 2;
  if (P == 0) return distance;
  std::int64_t far = distance < 0 ? -distance : distance;
  if (buckets.clip_first && far > P - 1) far = P - 1;
  if (far > mid) {
    const auto m = static_cast<double>(mid);
    const double part = std::log(static_cast<double>(far) / m) / std::log(static_cast<double>(P - 1) / m);
    far = static_cast<std::int64_t>(std::ceil(part * (m - 1))) + mid;
  }
  return distance < 0 ? -far : far;
}

/// I of a distance i - j.
inline std::int64_t deberta_row(const DebertaBuckets& buckets, std::int64_t distance) {
  const std::int64_t row = deberta_bucket(buckets, distance) + buckets.S;
  return row < 0 ? 0 : row >= 2 * buckets.S ? 2 * buckets.S - 1 : row;
}

// ---- parameters

struct Deberta {
  static constexpr const char* kTable = "rel_embeddings.weight";
  static constexpr const char* kKeyProjection = "pos_proj.weight";
  static constexpr const char* kQueryProjection = "pos_q_proj.weight";
  static constexpr const char* kQueryBias = "pos_q_proj.bias";
  DebertaBuckets buckets = {};
  Var keys = {};     ///< Kr (2S, H D), c2p; undefined: no such term
  Var queries = {};  ///< Qr (2S, H D), p2c; undefined: no such term
};

// ---- lowering

/// Row deberta_row(buckets, i - j) for every pair. Throws Error when S is below 1, P - 1 not above S/2, or a
/// length below 1.
std::shared_ptr<const OffsetMap> deberta_gather(const DebertaBuckets& buckets, std::int64_t Nq,
                                                std::int64_t Nk);

/// Adds the terms and the scale 1 / sqrt(t D) to a call on q (B, Nq, H D) and k (B, Nk, H D). Throws Error
/// when a table has another shape.
void add_deberta(const Context& ctx, const Deberta& deberta, const Var& q, const Var& k,
                 AttentionOptions& options);

// ---- the equation, as it stands

/// s_ij; kr and qr point to the pair's rows of the head, null where the term is left out.
template <class T>
T deberta_score(const T* q, const T* k, const T* kr, const T* qr, std::int64_t D) {
  T s{};
  for (std::int64_t d = 0; d < D; ++d) {
    s += q[d] * k[d];
    if (kr != nullptr) s += q[d] * kr[d];
    if (qr != nullptr) s += k[d] * qr[d];
  }
  return s / std::sqrt(static_cast<double>((1 + (kr != nullptr) + (qr != nullptr)) * D));
}

}  // namespace locant
