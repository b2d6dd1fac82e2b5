#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace locant {

/// The classes of a row of logits, likeliest first: the largest number first, equal ones by index, what is no
/// number last. min(k, classes) of them.
std::vector<std::int64_t> top_classes(std::span<const float> logits, std::int64_t k);
/// How many classes come before `label` in that order: 0 where it is the first.
std::int64_t rank_of(std::span<const float> logits, std::int64_t label);

/// How often pictures of one class were taken for another. Only pairs that occur are kept.
struct Confusion {
  std::int64_t classes = 0;
  std::map<std::pair<std::int64_t, std::int64_t>, std::int64_t> counts;  ///< by (label, predicted)
  std::vector<std::int64_t> pictures;                                    ///< of each class
  std::vector<std::int64_t> predicted;                                   ///< pictures taken for each class

  std::int64_t at(std::int64_t label, std::int64_t prediction) const;
};
/// Throws Error when the numbers of labels and predictions differ, or one is not in [0, classes).
Confusion count_confusion(const std::vector<std::int64_t>& labels,
                          const std::vector<std::int64_t>& predictions, std::int64_t classes);

/// Of one class; NaN where a number would be 0 / 0.
struct ClassResult {
  std::int64_t index = 0;
  std::int64_t pictures = 0, predicted = 0, right = 0;
  double precision = 0.0;  ///< right / predicted
  double recall = 0.0;     ///< right / pictures
  double f1 = 0.0;         ///< 2 right / (pictures + predicted)
};
/// Of every class, by index.
std::vector<ClassResult> class_results(const Confusion& confusion);
/// Those that have a picture or were predicted: by F1 from below, then by more pictures, then by index; at
/// the end those without a picture, most often predicted first.
std::vector<ClassResult> worst_first(const std::vector<ClassResult>& results);

/// Up to `count` classes that take part in most mistakes, as label or as prediction, by index.
std::vector<std::int64_t> most_confused(const Confusion& confusion, std::int64_t count);

}  // namespace locant
