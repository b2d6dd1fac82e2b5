#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/image.h"
#include "models/load.h"

namespace locant {

struct ClassScore {
  std::int64_t index = 0;
  std::string label;         ///< class name; the index in digits when the model knows no names
  float probability = 0.0f;  ///< or value, where the head gives values
};

/// What a model says about one picture.
struct Prediction {
  std::vector<ClassScore> top;  ///< best first; equal probabilities by index
};

/// Preprocesses, runs and ranks: one prediction a picture, of min(top_k, classes) scores each. The pictures
/// go through the model as one batch. Throws Error ("[classify] ...") for no picture, top_k below 1 or a
/// model without a head.
std::vector<Prediction> classify(const LoadedModel& loaded, const std::vector<Image>& pictures,
                                 int top_k = 5);

/// The steps of it. Pictures -> (B, channels, rows, columns).
Tensor preprocess_batch(const std::vector<Image>& pictures, const Preprocess& options);
/// The best classes of each row of logits (B, classes) in float64: by softmax, by a sigmoid each, or the
/// numbers as they are. `names` may be shorter than the classes.
std::vector<Prediction> rank_classes(const Tensor& logits, const std::vector<std::string>& names, int top_k,
                                     LoadedModel::Answer answer = LoadedModel::Answer::one_class);

}  // namespace locant
