#pragma once

#include <functional>

#include "io/preprocess.h"
#include "models/model.h"
#include "train/augment.h"
#include "train/dataset.h"

namespace locant {

/// Rows of a dataset as a model's input (B, channels, rows, columns). `geometry(i)` gives the transform of
/// row i of the batch; empty: none. The same bits for any number of threads.
Tensor load_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                  const std::function<Geometry(std::int64_t)>& geometry = {});

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
