#include "train/confusion.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace locant {
namespace {

float ordered(float logit) { return std::isnan(logit) ? -std::numeric_limits<float>::infinity() : logit; }

double ratio(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? std::numeric_limits<double>::quiet_NaN()
                    : static_cast<double>(part) / static_cast<double>(whole);
}

std::size_t at_index(std::int64_t i) { return static_cast<std::size_t>(i); }

}  // namespace

std::vector<std::int64_t> top_classes(std::span<const float> logits, std::int64_t k) {
  std::vector<std::int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto end = order.begin() + std::min<std::int64_t>(k, static_cast<std::int64_t>(order.size()));
  std::partial_sort(order.begin(), end, order.end(), [&](std::int64_t a, std::int64_t b) {
    const float left = ordered(logits[at_index(a)]), right = ordered(logits[at_index(b)]);
    return left != right ? left > right : a < b;
  });
  order.erase(end, order.end());
  return order;
}

std::int64_t rank_of(std::span<const float> logits, std::int64_t label) {
  const float own = ordered(logits[at_index(label)]);
  std::int64_t before = 0;
  for (std::size_t c = 0; c < logits.size(); ++c) {
    const float other = ordered(logits[c]);
    before += other > own || (other == own && c < at_index(label)) ? 1 : 0;
  }
  return before;
}

std::int64_t Confusion::at(std::int64_t label, std::int64_t prediction) const {
  const auto found = counts.find({label, prediction});
  return found == counts.end() ? 0 : found->second;
}

Confusion count_confusion(const std::vector<std::int64_t>& labels,
                          const std::vector<std::int64_t>& predictions, std::int64_t classes) {
  require(labels.size() == predictions.size(), "confusion", "{} labels, {} predictions", labels.size(),
          predictions.size());
  Confusion out;
  out.classes = classes;
  out.pictures.resize(at_index(classes));
  out.predicted.resize(at_index(classes));
  for (std::size_t i = 0; i < labels.size(); ++i) {
    for (const std::int64_t c : {labels[i], predictions[i]})
      require(c >= 0 && c < classes, "confusion", "picture {} is of class {}; there are {} classes", i, c,
              classes);
    ++out.counts[{labels[i], predictions[i]}];
    ++out.pictures[at_index(labels[i])];
    ++out.predicted[at_index(predictions[i])];
  }
  return out;
}

std::vector<ClassResult> class_results(const Confusion& confusion) {
  std::vector<ClassResult> out;
  for (std::int64_t c = 0; c < confusion.classes; ++c) {
    const std::int64_t pictures = confusion.pictures[at_index(c)],
                       predicted = confusion.predicted[at_index(c)], right = confusion.at(c, c);
    out.push_back({c, pictures, predicted, right, ratio(right, predicted), ratio(right, pictures),
                   ratio(2 * right, pictures + predicted)});
  }
  return out;
}

std::vector<ClassResult> worst_first(const std::vector<ClassResult>& results) {
  std::vector<ClassResult> out;
  std::copy_if(results.begin(), results.end(), std::back_inserter(out),
               [](const ClassResult& r) { return r.pictures > 0 || r.predicted > 0; });
  std::stable_sort(out.begin(), out.end(), [](const ClassResult& a, const ClassResult& b) {
    if ((a.pictures > 0) != (b.pictures > 0)) return a.pictures > 0;
    if (a.pictures == 0) return a.predicted > b.predicted;
    return a.f1 != b.f1 ? a.f1 < b.f1 : a.pictures > b.pictures;
  });
  return out;
}

std::vector<std::int64_t> most_confused(const Confusion& confusion, std::int64_t count) {
  std::vector<std::int64_t> mistakes(at_index(confusion.classes)), order(at_index(confusion.classes));
  for (const auto& [pair, times] : confusion.counts)
    if (pair.first != pair.second)
      for (const std::int64_t c : {pair.first, pair.second}) mistakes[at_index(c)] += times;
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::erase_if(order, [&](std::int64_t c) { return mistakes[at_index(c)] == 0; });
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return mistakes[at_index(a)] > mistakes[at_index(b)];
  });
  order.resize(std::min(at_index(count), order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace locant
