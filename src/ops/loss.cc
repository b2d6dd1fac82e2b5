#include "ops/loss.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/profile.h"

namespace locant {
namespace {

void check(const Shape& logits, const std::vector<std::int64_t>& labels, float smoothing) {
  if (logits.rank() != 2 || logits[0] < 1 || logits[1] < 1)
    fail("cross_entropy", "logits of shape {} are not (B, classes)", logits.str());
  require(static_cast<std::int64_t>(labels.size()) == logits[0], "cross_entropy",
          "{} labels for {} rows of logits", labels.size(), logits[0]);
  require(smoothing >= 0.0f && smoothing <= 1.0f, "cross_entropy", "label smoothing {} is outside [0, 1]",
          smoothing);
  for (const std::int64_t label : labels)
    if (label < 0 || label >= logits[1])
      fail("cross_entropy", "label {} is outside the {} classes", label, logits[1]);
}

double log_sum_exp(const float* row, std::int64_t classes) {
  const double most = *std::max_element(row, row + classes);
  double sum = 0;
  for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(row[c] - most);
  return most + std::log(sum);
}

// t_c = (1 - s) onehot + s / classes
double target(bool hit, double smoothing, std::int64_t classes) {
  return (hit ? 1 - smoothing : 0.0) + smoothing / static_cast<double>(classes);
}

}  // namespace

Var cross_entropy(const Context& ctx, const Var& logits, const std::vector<std::int64_t>& labels,
                  float label_smoothing) {
  check(logits.shape(), labels, label_smoothing);
  const ProfileScope scope("cross_entropy");
  const std::int64_t B = logits.dim(0), classes = logits.dim(1);
  const double smoothing = label_smoothing;
  double loss = 0;
  for (std::int64_t b = 0; b < B; ++b) {
    const float* row = logits.value().data() + b * classes;
    const double lse = log_sum_exp(row, classes);
    for (std::int64_t c = 0; c < classes; ++c)
      if (const double t = target(c == labels[static_cast<std::size_t>(b)], smoothing, classes); t != 0)
        loss += t * (lse - row[c]);
  }
  Tensor y = Tensor::full({1}, static_cast<float>(loss / static_cast<double>(B)));
  return ctx.record({logits}, std::move(y), [logits, labels, smoothing, B, classes](const Tensor& dy) {
    Tensor dlogits(logits.shape());
    const double share = static_cast<double>(dy[0]) / static_cast<double>(B);
    for (std::int64_t b = 0; b < B; ++b) {
      const float* row = logits.value().data() + b * classes;
      const double lse = log_sum_exp(row, classes);
      for (std::int64_t c = 0; c < classes; ++c)  // (softmax - t) / B
        dlogits[b * classes + c] = static_cast<float>(
            share *
            (std::exp(row[c] - lse) - target(c == labels[static_cast<std::size_t>(b)], smoothing, classes)));
    }
    logits.accumulate(std::move(dlogits));
  });
}

}  // namespace locant
