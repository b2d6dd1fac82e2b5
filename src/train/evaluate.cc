#include "train/evaluate.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "train/batch.h"
#include "train/confusion.h"

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

std::vector<std::int64_t> Evaluation::predictions() const {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < size(); ++i) out.push_back(top_classes(data().row(i), 1).front());
  return out;
}

void Evaluation::add(const Tensor& batch_logits, const std::vector<std::int64_t>& batch_labels) {
  const auto count = static_cast<std::int64_t>(batch_labels.size());
  require(batch_logits.shape().rank() == 2 && batch_logits.dim(0) == count &&
              (labels.empty() || batch_logits.dim(1) == classes()),
          "evaluate", "logits {} for {} labels after others of {} classes", batch_logits.shape().str(), count,
          classes());
  logits.insert(logits.end(), batch_logits.values().begin(), batch_logits.values().end());
  labels.insert(labels.end(), batch_labels.begin(), batch_labels.end());
}

void Evaluation::measure() {
  accuracy = top5 = loss = 0.0;
  if (labels.empty()) return;
  constexpr std::int64_t kFew = 5;
  std::int64_t first = 0, among = 0;
  for (std::int64_t i = 0; i < size(); ++i) {
    const std::int64_t rank = rank_of(data().row(i), labels[static_cast<std::size_t>(i)]);
    first += rank == 0 ? 1 : 0;
    among += rank < kFew ? 1 : 0;
  }
  accuracy = static_cast<double>(first) / static_cast<double>(size());
  top5 = static_cast<double>(among) / static_cast<double>(size());
  loss = mean_nll(data());
}

Evaluation evaluate(const Model& model, const Dataset& data, const Preprocess& form, std::int64_t batch,
                    const std::function<bool(std::int64_t)>& go_on) {
  Evaluation out;
  for (std::int64_t begin = 0; begin < data.size() && out.complete; begin += batch) {
    std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min(batch, data.size() - begin)));
    std::iota(rows.begin(), rows.end(), begin);
    std::vector<std::int64_t> labels;
    for (const std::int64_t row : rows) labels.push_back(data.label(row));
    const Var logits = model.forward(Context{}, Var(load_batch(data, rows, form)));
    if (begin == 0) out.logits.reserve(static_cast<std::size_t>(data.size() * logits.dim(1)));
    out.add(logits.value(), labels);
    out.complete = !go_on || go_on(out.size());
  }
  out.measure();
  return out;
}

}  // namespace locant
