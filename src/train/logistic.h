#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/tensor.h"
#include "train/lbfgs.h"

namespace locant {

struct LogisticOptions {
  double c = 1.0;                         ///< inverse strength of the penalty, scikit-learn's C
  std::vector<float> class_weights = {};  ///< of each class, above 0; empty: 1
  LbfgsOptions search = {};
};

struct LogisticFit {
  Tensor weight;  ///< (classes, C)
  Tensor bias;    ///< (classes)
  LbfgsResult search;
};

/// Multinomial logistic regression on features (N, C), labels 0 to classes - 1: the minimum of
///   sum_n w_(y_n) (-log softmax(W f_n + b)_(y_n)) / S + |W|^2 / (2 c S),  S = sum_n w_(y_n),
/// which is scikit-learn's LogisticRegression(C=c); of two classes, as there, the vector of the one class
/// against the other is penalised, |W|^2 / (c S). From 0 on, products in float32, sums in float64: the same
/// bits for the same number of threads. Throws Error where shapes, labels or options do not fit.
LogisticFit fit_logistic(const Tensor& features, const std::vector<std::int64_t>& labels,
                         std::int64_t classes, const LogisticOptions& options = {},
                         const std::function<bool(std::int64_t, double)>& go_on = {});

}  // namespace locant
