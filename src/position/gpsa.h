#pragma once

// Gated positional self-attention. d'Ascoli et al. 2021, "ConViT", with the offset d = key minus query in
// columns (x) and rows (y):
//
//   P[h, i, j] = softmax_j(w_h.(d_x, d_y, d_x^2 + d_y^2) + b_h)
//   A = (1 - sigmoid(g_h)) softmax_j(q_i.k_j / sqrt(D)) + sigmoid(g_h) P,   out_i = sum_j A_ij v_j
//
// Enters: a softmax of its own, mixed in behind the content's. Parameters: w (H, 3) "pos_proj.weight", b (H)
// "pos_proj.bias", g (H) "gating_param". The exponent of P is a number of the rows plus one of the columns,
// w1 d_y + w2 d_y^2 and w0 d_x + w2 d_x^2, for any w: P is the product of a softmax over rows and one over
// columns (ops/separable_softmax.h) and no tokens x tokens array exists. b moves all exponents of a softmax
// alike: it does not act, and its gradient is zero. Gradient: dw by hand below, the rest by the ops. Init:
// below; g = 1. Cost: N (rows + columns) D multiply-adds a head beside plain attention. The official code
// divides A by its row sums, which are 1. Models: ConViT (its first ten blocks, without a class token).

#include <array>
#include <cstdint>

#include "ops/attention/attention.h"
#include "position/grid.h"
#include "position/shared/attention_path.h"

namespace locant {

// ---- index arithmetic

/// Side of the square of offsets that local heads look at: floor(sqrt(H)).
constexpr std::int64_t gpsa_kernel(std::int64_t heads) {
  std::int64_t K = 0;
  while ((K + 1) * (K + 1) <= heads) ++K;
  return K;
}

/// The row of w that makes head n of the first K^2 look at one offset, (2 d_x, 2 d_y, -1) strength with
/// d = (n / K - c, n % K - c), c = (K - 1) / 2 if K is even, else K // 2.
constexpr std::array<double, 3> gpsa_local_row(std::int64_t heads, std::int64_t n, double strength) {
  const std::int64_t K = gpsa_kernel(heads);
  const double c = K % 2 == 0 ? static_cast<double>(K - 1) / 2 : static_cast<double>(K / 2);
  return {2 * (static_cast<double>(n / K) - c) * strength, 2 * (static_cast<double>(n % K) - c) * strength,
          -strength};
}

// ---- parameters

struct Gpsa {
  static constexpr const char* kWeight = "pos_proj.weight";
  static constexpr const char* kBias = "pos_proj.bias";
  static constexpr const char* kGate = "gating_param";
  Var weight = {};  ///< (H, 3): d_x, d_y, d_x^2 + d_y^2
  Var bias = {};    ///< (H); undefined: none
  Var gate = {};    ///< (H)
};

/// pos_proj.weight of the local start: the first K^2 rows by gpsa_local_row, the others of `start` (H, 3)
/// times the strength. The start also makes v's weight the identity. Throws Error on another shape.
Tensor gpsa_local_weight(const Tensor& start, double strength = 1.0);

// ---- lowering

/// P v: v (B, Nk, H Dv) -> (B, Nq, H Dv). Throws Error when parameters or tokens do not fit.
Var gpsa_positional(const Context& ctx, const Gpsa& gpsa, Grid query, Grid key, const Var& v);

/// All of it. `content` are the options of the content's softmax: heads, scale, dropout. q (B, Nq, H D), k
/// (B, Nk, H D), v (B, Nk, H Dv) -> (B, Nq, H Dv).
Var gpsa_attention(const Context& ctx, const Gpsa& gpsa, Grid query, Grid key, const Var& q, const Var& k,
                   const Var& v, const AttentionOptions& content, AttentionPath path = AttentionPath::fused);

/// A of query i, (Nk): for looking at a model. No gradient. no scale: D^-0.5.
void gpsa_row(const Gpsa& gpsa, Grid query, Grid key, const Tensor& q, const Tensor& k,
              std::optional<float> scale, std::int64_t b, std::int64_t h, std::int64_t i, float* row);

/// For oracles and small grids, tokens x tokens: the exponents of P, (B, N, N, H), and A itself, (B, H, N,
/// N).
Tensor gpsa_exponents(const Gpsa& gpsa, Grid grid, std::int64_t B);
Tensor gpsa_probabilities(const Gpsa& gpsa, Grid grid, const Tensor& q, const Tensor& k);

/// The paper's measure of non-locality: how far each head looks, sum over j of A_ij |d|, averaged over
/// batch and queries, in tokens. q (B, Nq, H D), k (B, Nk, H D) -> (H). Memory O(Nk) a thread. No gradient.
Tensor gpsa_attention_distance(const Gpsa& gpsa, Grid query, Grid key, const Tensor& q, const Tensor& k,
                               std::optional<float> scale = {});

// ---- the equation, as it stands

/// The exponent of P for one pair; w points to the head's three weights.
template <class T>
T gpsa_score(const T* w, T b, std::int64_t d_x, std::int64_t d_y) {
  const double x = static_cast<double>(d_x), y = static_cast<double>(d_y);
  return w[0] * x + w[1] * y + w[2] * (x * x + y * y) + b;
}

}  // namespace locant
