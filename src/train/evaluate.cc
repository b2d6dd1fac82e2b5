#include "train/evaluate.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "train/batch.h"

namespace locant {

std::int64_t count_correct(const Tensor& logits, const std::vector<std::int64_t>& labels) {
  const std::int64_t classes = logits.dim(1);
  std::int64_t correct = 0;
  for (std::int64_t i = 0; i < logits.dim(0); ++i) {
    const float* row = logits.data() + i * classes;
    correct += std::max_element(row, row + classes) - row == labels[static_cast<std::size_t>(i)];
  }
  return correct;
}

Evaluation evaluate(const Model& model, const Dataset& data, const Preprocess& form, std::int64_t batch,
                    const std::function<bool(std::int64_t)>& go_on) {
  std::int64_t correct = 0;
  for (std::int64_t begin = 0; begin < data.size(); begin += batch) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min(batch, data.size() - begin)));
    std::iota(rows.begin(), rows.end(), begin);
    std::vector<std::int64_t> labels;
    for (const std::int64_t row : rows) labels.push_back(data.label(row));
    const Var logits = model.forward(Context{}, Var(load_batch(data, rows, form)));
    correct += count_correct(logits.value(), labels);
    const std::int64_t done = begin + static_cast<std::int64_t>(rows.size());
    if (go_on && !go_on(done)) return {0.0, false};
  }
  return {static_cast<double>(correct) / static_cast<double>(data.size()), true};
}

}  // namespace locant
