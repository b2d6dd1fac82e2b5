#pragma once

// Neighbourhood attention with its relative bias: Hassani et al. 2023, "Neighborhood Attention
// Transformer"; with gaps, Hassani and Shi 2022, "Dilated Neighborhood Attention Transformer":
//
//   S[h, i, j] = q_i.k_j / sqrt(D) + B[h, (j - i) / d + K - 1]   on both axes, j in the window of i
//
// On each axis the window of query i has exactly K keys, d apart: K/2 on both sides of i, moved inwards where
// the border is nearer. Nothing is padded or masked. Enters: score, and it says who is seen. Parameters: B
// (H, 2 K - 1, 2 K - 1), `rpb`, row then column, key minus query. Init: normal 0.02. Lowering: a group is a
// block of queries with its halo of K/2 keys on each side (each residue modulo d is a grid of its own), the
// window of a query a box in it (RowMaps::query_box), the bias a gather term. Cost: a block of b x b queries
// meets (b + K - 1)^2 keys. Gradient: by the kernel, B's transpose by the tape. Models: NAT, DiNAT.

#include <cstdint>
#include <memory>

#include "ops/attention/attention.h"
#include "position/grid.h"

namespace locant {

// ---- index arithmetic, one axis of L places, window K (odd), dilation d, K d <= L

/// Place of the first key that query i sees; the others follow d apart.
constexpr std::int64_t natten_start(std::int64_t i, std::int64_t L, std::int64_t K, std::int64_t d) {
  const std::int64_t half = K / 2;
  if (i - half * d < 0) return i % d;
  if (i + half * d < L) return i - half * d;
  const std::int64_t residue = i % d, whole = L / d * d;
  const std::int64_t last = residue < L - whole ? whole + residue : whole - d + residue;
  return last - (K - 1) * d;
}

/// Where in an axis of the bias the first key of query i is; the others follow.
constexpr std::int64_t natten_bias_start(std::int64_t i, std::int64_t L, std::int64_t K, std::int64_t d) {
  return (natten_start(i, L, K, d) - i) / d + K - 1;
}

/// Whether query i sees place j of its axis.
constexpr bool natten_sees(std::int64_t i, std::int64_t j, std::int64_t L, std::int64_t K, std::int64_t d) {
  const std::int64_t first = natten_start(i, L, K, d);
  return j >= first && j <= first + (K - 1) * d && (j - first) % d == 0;
}

// ---- parameters

struct Natten {
  static constexpr const char* kTable = "rpb";
  static constexpr float kInitStd = 0.02f;
  std::int64_t kernel = 7, dilation = 1;
  Var table;  ///< (H, 2 kernel - 1, 2 kernel - 1); undefined: no bias
};

// ---- lowering

/// Who sees whom and which number of the bias they read, for a grid of tokens.
struct NattenMaps {
  std::shared_ptr<const RowMaps> rows;
  std::shared_ptr<const OffsetMap> gather;
};

/// Blocks of at most `block` x `block` queries (at least K/2 + 1). Throws Error unless the kernel is odd and
/// kernel * dilation places fit the grid on both axes.
NattenMaps natten_maps(Window grid, std::int64_t kernel, std::int64_t dilation, std::int64_t block = 8);

/// Sets maps, and the term when there is a table. Throws Error when that does not fit the kernel.
void add_natten(const Context& ctx, const Natten& natten, const NattenMaps& maps, AttentionOptions& options);

// ---- the equation, as it stands

/// table: the head's (2 K - 1, 2 K - 1); down and across: key minus query in units of the dilation.
template <class T>
T natten_score(T qk, const T* table, std::int64_t K, std::int64_t down, std::int64_t across) {
  return qk + table[(down + K - 1) * (2 * K - 1) + across + K - 1];
}

}  // namespace locant
