#pragma once

#include "ops/attention/inputs.h"

namespace locant {

/// scores (B, G, H, Nq, Nk) become -inf where a query may not see a key.
void add_composed_masks(const AttentionInputs& in, Tensor& scores);

/// Zeroes numbers (B, G, H, Nq, Nk) as kernels/attention_dropout.h says, and divides the others by 1 - p.
void apply_composed_dropout(const AttentionInputs& in, const AttentionDropout& dropout, Tensor& numbers);

}  // namespace locant
