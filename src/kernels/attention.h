#pragma once

#include <cstdint>
#include <span>

#include "kernels/score_term.h"

namespace locant {

/// Where the rows of a (batch, row, head, element) tensor lie; element stride 1. A joint qkv of shape (B, N,
/// 3, H, D) is three of these over one buffer.
struct AttentionView {
  const float* data = nullptr;
  std::int64_t batch_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
};
struct AttentionMutableView {
  float* data = nullptr;
  std::int64_t batch_stride = 0;
  std::int64_t row_stride = 0;
  std::int64_t head_stride = 0;
};

/// Which keys a query may see. A query that sees none gives zeros. Everything null: all keys.
struct AttentionMask {
  const std::int64_t* key_lengths = nullptr;  ///< (B): keys at this slot and beyond are masked
  const std::int32_t* query_region =
      nullptr;  ///< (G, Nq): with key_region, a query sees keys of its own region only
  const std::int32_t* key_region = nullptr;  ///< (G, Nk)
  /// Query slot i sees key slots up to i + causal_offset, and no further back than causal_span of them when
  /// that is not 0.
  bool causal = false;
  std::int64_t causal_offset = 0, causal_span = 0;
  /// (G, Nq, 4): first row, end row, first column, end column of what a query sees in the grid of key slots
  /// from box_first_key on, row-major, box_columns wide. Keys before box_first_key are seen. Local windows.
  const std::int32_t* query_box = nullptr;
  std::int64_t box_columns = 0, box_first_key = 0;
  /// Not 0: seen. At b * batch_stride + g * group_stride + h * head_stride + i * row_stride + j.
  const std::uint8_t* dense = nullptr;
  std::int64_t dense_batch_stride = 0, dense_group_stride = 0, dense_head_stride = 0, dense_row_stride = 0;
};

/// Zeroes probabilities and divides the others by 1 - p. What is kept depends on the seed and on (b, g, h, i,
/// j) alone: the backward makes it again (kernels/attention_dropout.h).
struct AttentionDropout {
  float p = 0.0f;
  std::uint64_t seed = 0;
};

/// sum_j K_ij softmax_j(scale a(h, i, j) q_i.k_j + terms(h, i, j) + mask) (v_j + value_term(h, i, j)), for
/// each of B batches, G groups (windows) and H heads; a is 1 without a factor, K is 1 without dropout.
///
/// Row maps place slots on token rows: slot i of group g reads and writes row query_rows[g*Nq + i]. Null is
/// the identity (g*Nq + i). Windows, cyclic shifts, lines and sub-sampling are row maps; no permuted copy is
/// made. A negative entry is a padding slot: as a query it is skipped; as a key it has k = key_pad[h] and v =
/// value_pad[h] when these are given (a model whose padded tokens act as keys), and is masked otherwise. A
/// row may appear once among the queries, and any number of times among the keys.
struct AttentionArgs {
  std::int64_t B = 0, G = 1, H = 0, Nq = 0, Nk = 0, D = 0, Dv = 0;  ///< D, Dv in 1..256; Nq, Nk per group
  AttentionView q = {}, k = {}, v = {};
  AttentionMutableView out = {};
  float* lse = nullptr;  ///< (B, G, H, Nq) natural log-sum-exp of each row, +inf where nothing is seen
                         ///< (padding slots too); null: not kept
  float scale = 1.0f;
  const std::int32_t* query_rows = nullptr;  ///< (G, Nq)
  const std::int32_t* key_rows = nullptr;    ///< (G, Nk)
  const float* key_pad = nullptr;            ///< (H, D)
  const float* value_pad = nullptr;          ///< (H, Dv)
  std::span<const ScoreTerm> terms = {};     ///< at most four
  /// Multiplies scale q.k per head and index (Huang 2020, methods 1 and 2); where its map is negative, by 1.
  const GatherTerm* factor = nullptr;
  const ValueTerm* value_term = nullptr;
  AttentionDropout dropout = {};
  AttentionMask mask = {};
};

/// Gradients of the above. dq, dk, dv are OVERWRITTEN on every row that the maps reach (a row that several
/// key slots share gets the sum) and left alone elsewhere; table gradients and pad gradients are added to.
struct AttentionGradArgs {
  AttentionArgs forward = {};  ///< as in the forward call, `out` and `lse` holding its results
  AttentionView dout = {};
  AttentionMutableView dq = {}, dk = {}, dv = {};
  float* dkey_pad = nullptr;    ///< (H, D); may be null
  float* dvalue_pad = nullptr;  ///< (H, Dv); may be null
};

/// Fused attention in the instruction set that simd/isa.h chose. Extra memory: O(tile) a thread, and in the
/// backward O(N d) for row sums and partial gradients; never Nq x Nk. Equal thread counts give equal bits.
/// Throws Error ("[attention] ...") on sizes out of range, missing buffers, or more than four terms.
void attention_forward(const AttentionArgs& args);
void attention_backward(const AttentionGradArgs& args);

}  // namespace locant
