#include "models/classify.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/finite.h"
#include "core/parallel.h"

namespace locant {

Tensor preprocess_batch(const std::vector<Image>& pictures, const Preprocess& options) {
  const auto count = static_cast<std::int64_t>(pictures.size());
  Tensor batch(Shape{count, options.channels, options.rows, options.columns});
  const std::int64_t numbers = options.channels * options.rows * options.columns;
  parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) {
      const Tensor one = preprocess(pictures[static_cast<std::size_t>(b)], options);
      std::copy_n(one.data(), numbers, batch.data() + b * numbers);
    }
  });
  return batch;
}

namespace {

/// What is said of each class.
std::vector<double> scores_of(const float* logits_b, std::int64_t classes, LoadedModel::Answer answer) {
  std::vector<double> out(logits_b, logits_b + classes);
  if (answer == LoadedModel::Answer::values) return out;
  if (answer == LoadedModel::Answer::each_class) {
    for (double& x : out) x = 1.0 / (1.0 + std::exp(-x));
    return out;
  }
  const double largest = *std::max_element(out.begin(), out.end());
  for (double& x : out) x = std::exp(x - largest);
  const double sum = std::accumulate(out.begin(), out.end(), 0.0);
  for (double& x : out) x /= sum;
  return out;
}

Prediction rank_row(const std::vector<double>& weights, const std::vector<std::string>& names,
                    std::int64_t top) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::partial_sort(order.begin(), order.begin() + top, order.end(), [&](std::size_t a, std::size_t b) {
    return weights[a] != weights[b] ? weights[a] > weights[b] : a < b;
  });
  Prediction prediction;
  for (std::int64_t rank = 0; rank < top; ++rank) {
    const std::size_t c = order[static_cast<std::size_t>(rank)];
    prediction.top.push_back({.index = static_cast<std::int64_t>(c),
                              .label = c < names.size() ? names[c] : std::to_string(c),
                              .probability = static_cast<float>(weights[c])});
  }
  return prediction;
}

}  // namespace

std::vector<Prediction> rank_classes(const Tensor& logits, const std::vector<std::string>& names, int top_k,
                                     LoadedModel::Answer answer) {
  require(top_k >= 1, "classify", "top_k is {}, at least 1 is needed", top_k);
  require(logits.defined() && logits.shape().rank() == 2, "classify", "logits are {}, not (batch, classes)",
          logits.shape().str());
  const std::int64_t classes = logits.dim(1);
  require(classes >= 1, "classify", "the model has no classes");
  if (const std::int64_t bad = first_not_finite(logits.values()); bad >= 0)
    fail("classify",
         "the model's output for picture {} of {} holds {}: are these the weights they should be?",
         bad / classes + 1, logits.dim(0), logits[bad]);
  std::vector<Prediction> predictions;
  for (std::int64_t b = 0; b < logits.dim(0); ++b)
    predictions.push_back(rank_row(scores_of(logits.data() + b * classes, classes, answer), names,
                                   std::min<std::int64_t>(top_k, classes)));
  return predictions;
}

std::vector<Prediction> classify(const LoadedModel& loaded, const std::vector<Image>& pictures, int top_k) {
  require(!pictures.empty(), "classify", "no picture was given");
  require(loaded.model != nullptr && loaded.model->num_classes() > 0, "classify",
          "{} has no classification head; its features are what it gives", loaded.name);
  const Tensor batch = preprocess_batch(pictures, loaded.preprocess);
  return rank_classes(loaded.model->forward(Context{}, Var(batch)).value(), loaded.classes, top_k,
                      loaded.answer);
}

}  // namespace locant
