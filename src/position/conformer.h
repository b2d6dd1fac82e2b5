#pragma once

// The Conformer's relative attention: Transformer-XL's four terms in both directions. Gulati et al. 2020,
// section 2.1, as ESPnet, NeMo, wav2vec2-conformer and sooftware/conformer write it:
//
//   s_ij = ((q_i + u).k_j + (q_i + v).r_t) / sqrt(D)
//   r_t = W_pos sinusoid(distance),   distance(i, j) = i + past - j,   t = Nk - 1 - distance
//
// Enters: score, inside its scale. R has 2 Nk - 1 rows for the distances Nk-1 down to -(Nk-1), sines and
// cosines interleaved. Parameters: u "pos_bias_u" and v "pos_bias_v" (H, D), W_pos "linear_pos.weight" (H D,
// C), no bias (ESPnet, NeMo, Hugging Face); "u_bias", "v_bias", "pos_proj.linear.weight" (sooftware). u and v
// start Xavier-uniform (zeros in NeMo), W_pos as PyTorch's Linear. Gradient, cost and lowering: those of
// position/transformer_xl.h with twice the rows; what elsewhere is a shift of an Nq x (2 Nk - 1) matrix does
// not exist here. Models: the Conformers named above. Not these: WeNet (no shift: the key's absolute
// position), ESPnet's legacy form (the shift's garbage above the diagonal).

#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"
#include "position/transformer_xl.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t conformer_rows(std::int64_t Nk) { return 2 * Nk - 1; }

constexpr std::int64_t conformer_row(std::int64_t Nk, std::int64_t distance) { return Nk - 1 - distance; }

/// The table of sinusoids (2 Nk - 1, width) before W_pos. Throws Error when the width is odd.
Tensor conformer_sinusoids(std::int64_t Nk, std::int64_t width);

// ---- parameters

struct ConformerPosition {
  static constexpr const char* kU = "pos_bias_u";
  static constexpr const char* kV = "pos_bias_v";
  static constexpr const char* kProjection = "linear_pos.weight";
};

// ---- lowering

/// Row conformer_row(Nk, distance) for every pair of Nq queries, the last of the Nk keys. Throws Error when
/// Nq is below 1 or above Nk.
std::shared_ptr<const OffsetMap> conformer_gather(std::int64_t Nq, std::int64_t Nk);

/// Adds the terms to `options` and gives the queries q + u for the call, as add_transformer_xl does; `rows`
/// (2 Nk - 1, H, D) is the projected table. Throws Error that names what has another shape.
Var add_conformer(const Context& ctx, const Var& u, const Var& v, const Var& rows, const Var& q,
                  std::int64_t Nk, AttentionOptions& options);

// ---- the equation: transformer_xl_score

}  // namespace locant
