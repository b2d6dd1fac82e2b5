#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "nn/layers.h"
#include "nn/windows.h"

namespace locant {

/// The attention of the stem of Ramachandran et al. 2019, "Stand-Alone Self-Attention in Vision Models",
/// section 3.2 and its appendix. Pixels attend within blocks of b x b that do not overlap; a value's matrix
/// depends on the pixel's row a and column c in its block:
///
///   y_i = sum over j in the block of i of softmax_j(q_i.k_j) v_j,   q = W_q x,  k = W_k x, no 1/sqrt(D)
///   v_j = (sum_m p(a_j, c_j, m) V_m) x_j,   p(a, c, m) = softmax_m((e_row(a) + e_column(c)).nu_m)
///
/// The paper leaves open how many V_m there are (4 here, as in ports) and how wide e and nu (a head, as the
/// position vectors of its other layers); q, k and v have no bias, as in those. p is shared by the heads.
/// Names are leaderj1001's: `query_conv`, `key_conv`, `value_conv.m` (out, in, 1, 1); `emb_a`, `emb_b` (out /
/// heads, b), the rows and columns; `emb_mix` (M, out / heads). The port's own stem, whose channels attend
/// each by itself in windows that overlap: SasaStem in nn/sasa.h.
class AttentionStem {
 public:
  struct Options {
    std::int64_t in = 3, out = 64, heads = 8;
    std::int64_t mixtures = 4;
    std::int64_t block = 4;  ///< along a side
  };
  AttentionStem() = default;
  /// Throws Error when the heads do not divide `out`, or a number is below 1 or far too large.
  AttentionStem(const Weights& w, const Options& options);
  /// images (B, in, H, W) -> (B, out, H, W). Throws Error when they have other channels or the block does not
  /// divide their sides.
  Var operator()(const Context& ctx, const Var& images) const;

 private:
  /// x (B, H W, in) -> (B, H W, out).
  Var values(const Context& ctx, const Var& x, Grid grid) const;

  Options options_;
  Linear query_, key_;
  std::vector<Var> value_;        // V_m
  Var rows_, columns_, mixture_;  // e_row and e_column (E, b), nu (M, E)
  std::shared_ptr<const WindowMaps> maps_;
};

}  // namespace locant
