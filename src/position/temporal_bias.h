#pragma once

// Temporal bias of AIM's Swin: Yang et al. 2023, "AIM: Adapting Image Models for Efficient Video Action
// Recognition"; the table of its Swin adapter:
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + T[t_i - t_j + F - 1, h],   j over the F frames at the place of i
//
// Enters: score, in a pass of attention over time alone: every place of the image is a group of F tokens, and
// this bias replaces the spatial one there. Tokens: (frames, rows, columns), frames slowest. Parameters: T
// (2 F - 1, H), `temporal_position_bias_table`; the checkpoints' `t_relative_coords` (F^2) is derived. Init:
// normal 0.02. Gradient: by the kernel. Cost: one look-up and addition a score; no copy regroups the tokens,
// row maps do. Models: AIM (Swin).

#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"
#include "position/grid.h"

namespace locant {

// ---- index arithmetic

constexpr std::int64_t temporal_table_rows(std::int64_t frames) { return 2 * frames - 1; }
constexpr std::int64_t temporal_index(std::int64_t frames, std::int64_t query, std::int64_t key) {
  return query - key + frames - 1;
}

// ---- parameters

struct TemporalBias {
  static constexpr const char* kTable = "temporal_position_bias_table";
  static constexpr float kInitStd = 0.02f;
  std::int64_t frames = 1;
  Var table;  ///< (temporal_table_rows(frames), H)
};

// ---- lowering

/// One group for each place, of its tokens in every frame. Throws Error on an empty grid.
std::shared_ptr<const RowMaps> temporal_rows(Grid grid);

/// The term for ops/attention, on slots that are frames. Throws Error when the table does not fit.
AttentionTerm temporal_bias_term(const TemporalBias& bias, std::int64_t heads);

// ---- the equation, as it stands

/// table: the head's numbers, one every `heads`.
template <class T>
T temporal_bias_score(T qk, const T* table, std::int64_t heads, std::int64_t h, std::int64_t frames,
                      std::int64_t query, std::int64_t key) {
  return qk + table[(query - key + frames - 1) * heads + h];
}

}  // namespace locant
