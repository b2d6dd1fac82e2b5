#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace locant {

/// Mean over rows of -sum_c t_c log softmax(logits)_c, t = (1 - s) onehot + s / classes. logits (B, classes)
/// -> scalar (1). Throws Error when a label is out of range or the counts differ.
Var cross_entropy(const Context& ctx, const Var& logits, const std::vector<std::int64_t>& labels,
                  float label_smoothing);

}  // namespace locant
