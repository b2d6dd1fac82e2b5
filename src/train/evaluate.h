#pragma once

#include <functional>
#include <vector>

#include "io/preprocess.h"
#include "models/model.h"
#include "train/dataset.h"
#include "train/temperature.h"

namespace locant {

/// Rows whose largest logit is the label's; equal logits go to the lower class.
std::int64_t count_correct(const Tensor& logits, const std::vector<std::int64_t>& labels);

/// What a model says of labelled pictures.
struct Evaluation {
  double accuracy = 0.0;  ///< part whose likeliest class is the label (top_classes): top-1
  bool complete = true;   ///< false when `go_on` said stop: then it is of the pictures before that
  double top5 = 0.0;      ///< part whose label is among the five likeliest classes
  double loss = 0.0;      ///< mean -log softmax(logits)_label

  std::vector<std::int64_t> labels;
  std::vector<float> logits;  ///< (pictures, classes)

  LabelledLogits data() const { return {logits, labels}; }
  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::int64_t classes() const { return data().classes(); }
  /// The likeliest class of each picture.
  std::vector<std::int64_t> predictions() const;

  /// Keeps a batch: logits (pictures, classes). Throws Error when the numbers differ.
  void add(const Tensor& batch_logits, const std::vector<std::int64_t>& batch_labels);
  /// Computes accuracy, top5 and loss of all that was added; zeros of nothing.
  void measure();
};
/// Classifies the whole dataset. `go_on(done)` is asked after each batch.
Evaluation evaluate(const Model& model, const Dataset& data, const Preprocess& form, std::int64_t batch,
                    const std::function<bool(std::int64_t)>& go_on = {});

}  // namespace locant
