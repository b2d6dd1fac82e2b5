#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "autograd/tape.h"

namespace locant {

/// Slot -> token row maps of G groups (kernels/attention.h), shared by the layers of a stage.
struct RowMaps {
  std::int64_t groups = 1;
  std::int64_t queries = 0;                                      ///< Nq, slots a group
  std::int64_t keys = 0;                                         ///< Nk
  std::vector<std::int32_t> query_rows = {};                     ///< (G, Nq); empty: identity
  std::vector<std::int32_t> key_rows = {};                       ///< (G, Nk); empty: identity
  std::vector<std::int32_t> query_region = {}, key_region = {};  ///< (G, Nq), (G, Nk); empty: no region mask
};

/// The integers of a GatherTerm (kernels/score_term.h), without its table.
struct GatherMap {
  std::vector<std::int32_t> query_code = {}, key_code = {};  ///< (Nq), (Nk)
  std::int32_t origin = 0;
  std::vector<std::int32_t> map = {};  ///< (offsets); empty: the identity
  std::int64_t offsets = 0;
};

/// A term of the scores as a tape value: gather when `gather` is set (table (rows, H), as checkpoints store
/// it), else dense: table (Nq, Nk), (H, Nq, Nk), (G, H, Nq, Nk) or (B, G, H, Nq, Nk).
struct AttentionTerm {
  Var table = {};
  std::shared_ptr<const GatherMap> gather = nullptr;
};

struct AttentionOptions {
  std::int64_t heads = 1;
  float scale = 0.0f;                             ///< 0: D^-0.5
  std::shared_ptr<const RowMaps> rows = nullptr;  ///< null: one group, identity
  std::vector<std::int64_t> key_lengths = {};     ///< (B); empty: all keys
  std::vector<AttentionTerm> terms = {};          ///< at most four
  /// Bias (3 H D) of the joint projection: padding slots then act as keys k = its k third, v = its v third,
  /// and its gradient gets theirs. Undefined: padding slots are masked.
  Var pad_bias = {};
};

/// Multi-head attention on a joint projection qkv (B, N, 3 H D) -> (B, N, H D), fused: kernels/attention.h.
/// Rows that no query slot covers are zero. Throws Error when 3 H does not divide the width, or maps do not
/// fit N.
Var attention(const Context& ctx, const Var& qkv, const AttentionOptions& options);

/// On separate q (B, Nq, H D), k (B, Nk, H D), v (B, Nk, H Dv) -> (B, Nq, H Dv).
Var attention(const Context& ctx, const Var& q, const Var& k, const Var& v, const AttentionOptions& options);

/// The same numbers from matmul, add, softmax, matmul, with every score in memory: baseline and oracle of the
/// fused op.
Var attention_composed(const Context& ctx, const Var& q, const Var& k, const Var& v,
                       const AttentionOptions& options);
Var attention_composed(const Context& ctx, const Var& qkv, const AttentionOptions& options);

/// Probabilities of one query row: qkv (B, N, 3 H D) -> (B, H, N). For looking at a model; no gradient, no
/// terms.
Tensor attention_row(const Tensor& qkv, std::int64_t heads, float scale, std::int64_t row);

}  // namespace locant
