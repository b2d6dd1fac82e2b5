#pragma once

// For encodings that are an attention of their own: which of two ways to the same numbers they take.

#include "ops/attention/attention.h"

namespace locant {

/// fused: the kernel. composed: products and a softmax on whole matrices.
enum class AttentionPath { fused, composed };

/// Attention by the path asked for. Shapes and errors as attention has them.
inline Var run_attention(const Context& ctx, const Var& q, const Var& k, const Var& v,
                         const AttentionOptions& options, AttentionPath path) {
  return path == AttentionPath::fused ? attention(ctx, q, k, v, options)
                                      : attention_composed(ctx, q, k, v, options);
}

}  // namespace locant
