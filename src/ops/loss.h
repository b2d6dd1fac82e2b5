#pragma once

#include <cstdint>
#include <vector>

#include "autograd/tape.h"

namespace locant {

/// What each row of logits should say.
struct ClassTargets {
  std::vector<std::int64_t> labels;       ///< a
  std::vector<std::int64_t> others = {};  ///< b: what a mixed picture is besides; empty: nothing
  std::vector<float> shares = {};         ///< l: how much of it is `labels`, in [0, 1]; as many as `others`
  float smoothing = 0.0f;                 ///< s, in [0, 1]
  std::vector<float> class_weights = {};  ///< w, one a class, above 0; empty: 1
};

/// sum_n sum_c -w_c t_nc log softmax(logits_n)_c / sum_n (l w_a + (1 - l) w_b), where
/// t = (1 - s) (l onehot(a) + (1 - l) onehot(b)) + s / classes: timm's targets of mixed pictures, and
/// torch.nn.CrossEntropyLoss with weights where nothing is mixed. logits (B, classes) -> scalar (1). Throws
/// Error when a label, share or weight is out of range or the counts differ.
Var cross_entropy(const Context& ctx, const Var& logits, const ClassTargets& targets);

/// Mean over rows of -sum_c t_c log softmax(logits)_c, t = (1 - s) onehot + s / classes. logits (B, classes)
/// -> scalar (1). Throws Error when a label is out of range or the counts differ.
Var cross_entropy(const Context& ctx, const Var& logits, const std::vector<std::int64_t>& labels,
                  float label_smoothing);

}  // namespace locant
