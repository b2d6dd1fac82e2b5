#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"
#include "io/preprocess.h"
#include "train/augment.h"
#include "train/dataset.h"

namespace locant {

/// Rows of a dataset as a model's input (B, channels, rows, columns). `geometry(i)` gives the transform of
/// row i of the batch; empty: none. The same bits for any number of threads.
Tensor load_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                  const std::function<Geometry(std::int64_t)>& geometry = {});

}  // namespace locant
