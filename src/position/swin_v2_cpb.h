#pragma once

// Swin V2's log-spaced continuous position bias. Liu et al. 2022, "Swin Transformer V2", with the constants
// of its code:
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + 16 sigmoid(g(rho(dr), rho(dc))[h]),   (dr, dc) query minus key
//   g = W2 relu(W1 x + b1),   rho(d) = sign(u) log2(1 + |u|) / log2(8),   u = 8 d / (W' - 1)
//
// W': the side of the window that the model was pretrained with, or of its own: a coordinate of 1 is about
// the corner of that window, so that a larger one asks the same MLP a little further out. Enters: score. In
// Swin V2 the content score is a cosine times a temperature instead (models/swin_v2.cc). Parameters:
// `cpb_mlp.0.weight` (hidden, 2), `cpb_mlp.0.bias` (hidden), `cpb_mlp.2.weight` (H, hidden); the tables of
// coordinates and indices in checkpoints are derived. Init: weights normal 0.02, bias 0. Resize: none, the
// coordinates are recomputed. Gradient: that of the table by the kernel, the MLP's by the tape, once over
// (2 Wh - 1)(2 Ww - 1) rows. Models: Swin V2 (microsoft, timm, torchvision, Hugging Face).

#include <cmath>
#include <complex>
#include <cstdint>

#include "position/swin_bias.h"

namespace locant {

// ---- index arithmetic: rows as in swin_bias.h (swin_index)

/// rho of a displacement on an axis; `window` and `pretrained` are sides, pretrained 0: the window itself. A
/// side of 1 has only the displacement 0, which is 0 here (the papers' code divides by zero).
inline double swin_v2_coordinate(std::int64_t displacement, std::int64_t window, std::int64_t pretrained) {
  if (displacement == 0) return 0.0;
  const auto side = static_cast<double>((pretrained > 0 ? pretrained : window) - 1);
  const double u = 8.0 * static_cast<double>(displacement) / side;
  return std::copysign(std::log2(1.0 + std::abs(u)) / 3.0, u);
}

// ---- parameters

struct SwinV2Cpb {
  static constexpr const char* kFirstWeight = "cpb_mlp.0.weight";
  static constexpr const char* kFirstBias = "cpb_mlp.0.bias";
  static constexpr const char* kSecondWeight = "cpb_mlp.2.weight";
  static constexpr std::int64_t kHidden = 512;
  static constexpr float kInitStd = 0.02f;
  Window window;
  Window pretrained = {0, 0};  ///< 0: not pretrained with another
  float scale = 16.0f;
  Var first_weight = {};   ///< (hidden, 2)
  Var first_bias = {};     ///< (hidden)
  Var second_weight = {};  ///< (H, hidden)
};

/// (1, 2 Wh - 1, 2 Ww - 1, 2): rho of the row and the column displacement, as the checkpoints'
/// relative_coords_table. Throws Error on an empty window, or one that a pretrained side of 1 cannot measure.
Tensor swin_v2_coordinates(Window window, Window pretrained);

// ---- lowering

/// What the MLP gives, before the sigmoid: (1, 2 Wh - 1, 2 Ww - 1, H). Throws Error when a weight does not
/// fit.
Var swin_v2_cpb_logits(const Context& ctx, const SwinV2Cpb& cpb, std::int64_t heads);

/// scale sigmoid(logits) as a table for swin_gather(window, window): (swin_table_rows(window), H).
Var swin_v2_cpb_table(const Context& ctx, const SwinV2Cpb& cpb, const Var& logits);

/// Both, as the term for ops/attention.
AttentionTerm swin_v2_cpb_term(const Context& ctx, const SwinV2Cpb& cpb, std::int64_t heads);

// ---- the equation, as it stands

/// g for one head: w1 (hidden, 2), b1 (hidden), w2 (hidden) the head's row.
template <class T>
T swin_v2_cpb_mlp(double y, double x, const T* w1, const T* b1, const T* w2, std::int64_t hidden) {
  T sum{};
  for (std::int64_t n = 0; n < hidden; ++n) {
    const T z = w1[2 * n] * y + w1[2 * n + 1] * x + b1[n];
    if (std::real(z) > 0) sum += w2[n] * z;
  }
  return sum;
}
template <class T>
T swin_v2_cpb_score(T qk, T g) {
  return qk + 16.0 / (1.0 + std::exp(-g));
}

}  // namespace locant
