#include "ops/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/profile.h"

namespace locant {
namespace {

void check(const Shape& logits, const ClassTargets& t) {
  if (logits.rank() != 2 || logits[0] < 1 || logits[1] < 1)
    fail("cross_entropy", "logits of shape {} are not (B, classes)", logits.str());
  require(static_cast<std::int64_t>(t.labels.size()) == logits[0], "cross_entropy",
          "{} labels for {} rows of logits", t.labels.size(), logits[0]);
  require(t.others.size() == t.shares.size() && (t.others.empty() || t.others.size() == t.labels.size()),
          "cross_entropy", "{} labels, {} others, {} shares: as many of each were expected", t.labels.size(),
          t.others.size(), t.shares.size());
  require(t.smoothing >= 0.0f && t.smoothing <= 1.0f, "cross_entropy", "label smoothing {} is outside [0, 1]",
          t.smoothing);
  for (const auto* labels : {&t.labels, &t.others})
    for (const std::int64_t label : *labels)
      if (label < 0 || label >= logits[1])
        fail("cross_entropy", "label {} is outside the {} classes", label, logits[1]);
  for (const float share : t.shares)
    require(share >= 0.0f && share <= 1.0f, "cross_entropy", "a share of {} is outside [0, 1]", share);
  require(t.class_weights.empty() || static_cast<std::int64_t>(t.class_weights.size()) == logits[1],
          "cross_entropy", "{} class weights for {} classes", t.class_weights.size(), logits[1]);
  for (const float weight : t.class_weights)
    require(weight > 0.0f && weight < std::numeric_limits<float>::infinity(), "cross_entropy",
            "a class weight of {} is not above 0", weight);
}

double log_sum_exp(const float* row, std::int64_t classes) {
  const double most = *std::max_element(row, row + classes);
  double sum = 0;
  for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(row[c] - most);
  return most + std::log(sum);
}

/// What the loss takes from one row of targets.
class RowTarget {
 public:
  RowTarget(const ClassTargets& t, std::int64_t classes)
      : t_(t), smooth_(static_cast<double>(t.smoothing) / static_cast<double>(classes)) {}
  /// w_c t_nc
  double at(std::int64_t row, std::int64_t c) const {
    const auto n = static_cast<std::size_t>(row);
    const double rest = 1 - static_cast<double>(t_.smoothing);
    double hit = 0.0;
    if (t_.others.empty()) {
      hit = c == t_.labels[n] ? rest : 0.0;
    } else {
      const double share = t_.shares[n];
      if (c == t_.labels[n]) hit += rest * share;
      if (c == t_.others[n]) hit += rest * (1 - share);
    }
    return (hit + smooth_) * weight(c);
  }
  double weight(std::int64_t c) const {
    return t_.class_weights.empty() ? 1.0
                                    : static_cast<double>(t_.class_weights[static_cast<std::size_t>(c)]);
  }
  /// sum_c w_c t_nc; 1 without weights.
  double sum(std::int64_t row, std::int64_t classes) const {
    if (t_.class_weights.empty()) return 1.0;
    double out = 0.0;
    for (std::int64_t c = 0; c < classes; ++c) out += at(row, c);
    return out;
  }
  /// sum_n (l w_a + (1 - l) w_b); the number of rows without weights.
  double divisor() const {
    if (t_.class_weights.empty()) return static_cast<double>(t_.labels.size());
    double out = 0.0;
    for (std::size_t n = 0; n < t_.labels.size(); ++n) {
      const double share = t_.others.empty() ? 1.0 : static_cast<double>(t_.shares[n]);
      out += share * weight(t_.labels[n]);
      if (share < 1.0) out += (1.0 - share) * weight(t_.others[n]);
    }
    return out;
  }

 private:
  const ClassTargets& t_;
  double smooth_;
};

}  // namespace

Var cross_entropy(const Context& ctx, const Var& logits, const ClassTargets& targets) {
  check(logits.shape(), targets);
  const ProfileScope scope("cross_entropy");
  const std::int64_t B = logits.dim(0), classes = logits.dim(1);
  const RowTarget target(targets, classes);
  double loss = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    const float* row = logits.value().data() + b * classes;
    const double lse = log_sum_exp(row, classes);
    for (std::int64_t c = 0; c < classes; ++c)
      if (const double t = target.at(b, c); t != 0) loss += t * (lse - row[c]);
  }
  Tensor y = Tensor::full({1}, static_cast<float>(loss / target.divisor()));
  return ctx.record({logits}, std::move(y), [logits, targets, B, classes](const Tensor& dy) {
    const RowTarget target(targets, classes);
    Tensor dlogits(logits.shape());
    const double share = static_cast<double>(dy[0]) / target.divisor();
    for (std::int64_t b = 0; b < B; ++b) {
      const float* row = logits.value().data() + b * classes;
      const double lse = log_sum_exp(row, classes), sum = target.sum(b, classes);
      for (std::int64_t c = 0; c < classes; ++c)  // (softmax sum_k w_k t_k - w_c t_c) / divisor
        dlogits[b * classes + c] =
            static_cast<float>(share * (std::exp(row[c] - lse) * sum - target.at(b, c)));
    }
    logits.accumulate(std::move(dlogits));
  });
}

Var cross_entropy(const Context& ctx, const Var& logits, const std::vector<std::int64_t>& labels,
                  float label_smoothing) {
  return cross_entropy(ctx, logits, {.labels = labels, .smoothing = label_smoothing});
}

}  // namespace locant
