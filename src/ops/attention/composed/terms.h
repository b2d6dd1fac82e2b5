#pragma once

#include "ops/attention/inputs.h"

namespace locant {

/// What the composed path holds while a call runs, in slots (slots.h).
struct ComposedSlots {
  Tensor q, k, v;  ///< (B, G, H, slots, width)
};

/// scores (B, G, H, Nq, Nk) += the term, times its head scale when `scaled`.
void add_composed_term(const AttentionInputs& in, const ComposedSlots& slots, const AttentionTerm& term,
                       bool scaled, Tensor& scores);
/// Gradients of a term's Vars from dscores; what its vectors meet is added to dslots.
void composed_term_gradients(const AttentionInputs& in, const ComposedSlots& slots, const AttentionTerm& term,
                             const Tensor& dscores, ComposedSlots& dslots);

}  // namespace locant
