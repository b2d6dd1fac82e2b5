#pragma once

// Four ways to make the score depend on the distance. Huang, Liang, Xu and Xiang 2020, "Improve Transformer
// Models with Better Relative Position Embeddings", methods 1 to 4 (all over the scale sqrt(D)):
//
//   m1  s_ij = (q_i.k_j) a[|j - i|]                        a (n, H): numbers, blind to direction
//   m2  s_ij = (q_i.k_j) a[j - i + n - 1]                  a (2n-1, H): numbers
//   m3  s_ij = sum_d q_i[d] k_j[d] a[j - i + n - 1][d]     a (2n-1, D): vectors
//   m4  s_ij = q_i.k_j + q_i.a + k_j.a,  a = a[j - i + n - 1]
//
// m4 is (q + a).(k + a) - a.a. Hugging Face's BERT reads its table query minus key:
//
//   relative_key         s_ij = q_i.k_j + q_i.a,           a = a[i - j + n - 1]
//   relative_key_query   s_ij = q_i.k_j + q_i.a + k_j.a,   a = a[i - j + n - 1]
//
// Enters: score, inside its scale. n: the longest length, of queries and keys alike. Parameters: numbers per
// head, vectors shared by the heads ("distance_embedding.weight" (2n-1, D), N(0, 0.02)); numbers start at 1,
// which changes nothing. Gradient: by the kernel. Cost: m1, m2 one multiplication a score; relative_key one
// product a pair, m4 two, made per tile; m3 has no tile form, since the sum runs over three factors: it is
// made from whole score matrices, one per channel. Models: BERT with relative positions.

#include <cmath>
#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"

namespace locant {

enum class Huang2020Method { m1, m2, m3, m4, relative_key, relative_key_query };

// ---- index arithmetic

constexpr std::int64_t huang2020_rows(Huang2020Method method, std::int64_t n) {
  return method == Huang2020Method::m1 ? n : 2 * n - 1;
}

/// Row of the table for a distance i - j, |distance| < n.
constexpr std::int64_t huang2020_row(Huang2020Method method, std::int64_t n, std::int64_t distance) {
  if (method == Huang2020Method::m1) return distance < 0 ? -distance : distance;
  const bool query_minus_key =
      method == Huang2020Method::relative_key || method == Huang2020Method::relative_key_query;
  return (query_minus_key ? distance : -distance) + n - 1;
}

// ---- parameters

struct Huang2020 {
  static constexpr const char* kTable = "distance_embedding.weight";
  Huang2020Method method = Huang2020Method::m4;
  std::int64_t n = 512;  ///< longest length
  Var table = {};        ///< m1, m2: (rows, H); else (rows, D)
};

// ---- lowering

/// Row huang2020_row(method, n, i + past - j) for every pair. Throws Error when a distance has no row, or a
/// length is below 1.
std::shared_ptr<const OffsetMap> huang2020_gather(Huang2020Method method, std::int64_t n, std::int64_t Nq,
                                                  std::int64_t Nk, std::int64_t past = 0);

/// Adds what the method needs: a factor (m1, m2) or band terms. Throws Error when the table has another
/// shape, and for m3.
void add_huang2020(const Huang2020& huang, std::int64_t D, std::int64_t Nq, std::int64_t Nk,
                   AttentionOptions& options, std::int64_t past = 0);

/// m3 with every score in memory: q (B, Nq, H D), k (B, Nk, H D), v (B, Nk, H Dv) -> (B, Nq, H Dv). Throws
/// Error as add_huang2020.
Var huang2020_m3_attention(const Context& ctx, const Huang2020& huang, const Var& q, const Var& k,
                           const Var& v, std::int64_t heads);

// ---- the equation, as it stands

/// s_ij; `a` points to the row's D numbers, or to the head's one (m1, m2).
template <class T>
T huang2020_score(Huang2020Method method, const T* q, const T* k, const T* a, std::int64_t D) {
  using Method = Huang2020Method;
  T s{};
  for (std::int64_t d = 0; d < D; ++d) {
    if (method == Method::m1 || method == Method::m2) s += q[d] * k[d] * a[0];
    if (method == Method::m3) s += q[d] * k[d] * a[d];
    if (method == Method::relative_key) s += q[d] * k[d] + q[d] * a[d];
    if (method == Method::m4 || method == Method::relative_key_query)
      s += q[d] * k[d] + q[d] * a[d] + k[d] * a[d];
  }
  return s / std::sqrt(static_cast<double>(D));
}

}  // namespace locant
