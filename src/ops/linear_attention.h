#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace locant {

struct LinearAttentionOptions {
  std::int64_t heads = 1;
  bool causal = false;                         ///< query i sees keys up to i
  std::vector<std::int64_t> key_lengths = {};  ///< (B); empty: all keys
  /// (H), 0 or more, causal only: pairs weigh e^(-decay (i - j)). Empty: none.
  std::vector<float> decay = {};
  float eps = 0.0f;  ///< added to the denominator
};

/// Attention whose weights are products of features, Katharopoulos et al. 2020, equations 4 to 12:
///
///   o_i = sum_j w_ij (f_i.g_j) v_j / (sum_j w_ij (f_i.g_j) + eps),   w_ij the mask and the decay
///
/// queries f (B, Nq, H M), keys g (B, Nk, H M), v (B, Nk, H Dv) -> (B, Nq, H Dv). Time O((Nq + Nk) M Dv),
/// memory O(M Dv) a thread beside tensors of that size: sums over keys are made first, causal ones in blocks
/// of 64 tokens; the backward makes them again. A query with a denominator of exactly 0 (it sees nothing)
/// gives zeros. Equal inputs and threads give equal bits. Throws Error on shapes that do not fit, and on
/// causal attention with Nq != Nk.
Var linear_attention(const Context& ctx, const Var& queries, const Var& keys, const Var& v,
                     const LinearAttentionOptions& options);

/// The same with other features in the numerator (rotated ones): (B, Nq, H Mn) and (B, Nk, H Mn).
Var linear_attention(const Context& ctx, const Var& queries, const Var& keys, const Var& numerator_queries,
                     const Var& numerator_keys, const Var& v, const LinearAttentionOptions& options);

/// The same numbers from products of all pairs, Nq x Nk a head in memory: baseline and oracle. The
/// numerator's features may be undefined: then they are the denominator's.
Var linear_attention_composed(const Context& ctx, const Var& queries, const Var& keys,
                              const Var& numerator_queries, const Var& numerator_keys, const Var& v,
                              const LinearAttentionOptions& options);

/// Throws Error unless the shapes fit each other and the options; numerator features may be undefined.
void check_linear_attention(const Var& queries, const Var& keys, const Var& numerator_queries,
                            const Var& numerator_keys, const Var& v, const LinearAttentionOptions& options);

}  // namespace locant
