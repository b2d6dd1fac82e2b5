#pragma once

#include <functional>

#include "io/preprocess.h"
#include "models/model.h"
#include "train/dataset.h"

namespace locant {

/// Rows whose largest logit is the label's; equal logits go to the lower class.
std::int64_t count_correct(const Tensor& logits, const std::vector<std::int64_t>& labels);

struct Evaluation {
  double accuracy = 0.0;
  bool complete = true;  ///< false when `go_on` said stop
};
/// Classifies the whole dataset. `go_on(done)` is asked after each batch.
Evaluation evaluate(const Model& model, const Dataset& data, const Preprocess& form, std::int64_t batch,
                    const std::function<bool(std::int64_t)>& go_on = {});

}  // namespace locant
