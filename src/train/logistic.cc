#include "train/logistic.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "ops/matmul.h"

namespace locant {
namespace {

/// The function and its gradient in the numbers (W, b).
class Objective {
 public:
  Objective(const Tensor& features, const std::vector<std::int64_t>& labels, std::int64_t classes,
            const LogisticOptions& options)
      : features_(features),
        labels_(labels),
        N_(features.dim(0)),
        C_(features.dim(1)),
        K_(classes),
        weights_(options.class_weights),
        logits_({N_, K_}),
        w_({K_, C_}),
        dw_({K_, C_}),
        losses_(static_cast<std::size_t>(N_)) {
    for (const std::int64_t label : labels_) sum_ += weight(label);
    penalty_ = (K_ == 2 ? 2.0 : 1.0) / (options.c * sum_);
  }

  std::size_t size() const { return static_cast<std::size_t>(K_ * C_ + K_); }

  double operator()(const std::vector<double>& x, std::vector<double>& g) {
    const std::int64_t matrix = K_ * C_;
    for (std::int64_t i = 0; i < matrix; ++i) w_[i] = static_cast<float>(x[static_cast<std::size_t>(i)]);
    matmul({.transpose_b = true,
            .M = N_,
            .N = K_,
            .K = C_,
            .a = features_.data(),
            .lda = C_,
            .b = w_.data(),
            .ldb = C_,
            .c = logits_.data(),
            .ldc = K_});
    const double* bias = x.data() + matrix;
    parallel_for(N_, 64, [&](std::int64_t begin, std::int64_t end) {
      std::vector<double> e(static_cast<std::size_t>(K_));
      for (std::int64_t n = begin; n < end; ++n) softmax(n, bias, e.data());
    });
    double loss = 0.0;
    for (const double one : losses_) loss += one;
    matmul({.transpose_a = true,
            .M = K_,
            .N = C_,
            .K = N_,
            .a = logits_.data(),
            .lda = K_,
            .b = features_.data(),
            .ldb = C_,
            .c = dw_.data(),
            .ldc = C_});
    double square = 0.0;
    for (std::int64_t i = 0; i < matrix; ++i) {
      const double one = x[static_cast<std::size_t>(i)];
      square += one * one;
      g[static_cast<std::size_t>(i)] = static_cast<double>(dw_[i]) + penalty_ * one;
    }
    for (std::int64_t k = 0; k < K_; ++k) {
      double sum = 0.0;
      for (std::int64_t n = 0; n < N_; ++n) sum += static_cast<double>(logits_[n * K_ + k]);
      g[static_cast<std::size_t>(matrix + k)] = sum;
    }
    return loss / sum_ + 0.5 * penalty_ * square;
  }

 private:
  double weight(std::int64_t label) const {
    return weights_.empty() ? 1.0 : static_cast<double>(weights_[static_cast<std::size_t>(label)]);
  }
  /// A row of logits to that of the loss by them, w (softmax - onehot) / S.
  void softmax(std::int64_t n, const double* bias, double* e) {
    float* row = logits_.data() + n * K_;
    const std::int64_t label = labels_[static_cast<std::size_t>(n)];
    for (std::int64_t k = 0; k < K_; ++k) e[k] = static_cast<double>(row[k]) + bias[k];
    const double most = *std::max_element(e, e + K_), own = e[label];
    double sum = 0.0;
    for (std::int64_t k = 0; k < K_; ++k) sum += e[k] = std::exp(e[k] - most);
    const double w = weight(label);
    losses_[static_cast<std::size_t>(n)] = w * (std::log(sum) + most - own);
    for (std::int64_t k = 0; k < K_; ++k)
      row[k] = static_cast<float>(w * (e[k] / sum - (k == label ? 1.0 : 0.0)) / sum_);
  }

  const Tensor& features_;
  const std::vector<std::int64_t>& labels_;
  std::int64_t N_, C_, K_;
  std::vector<float> weights_;
  Tensor logits_, w_, dw_;
  std::vector<double> losses_;
  double sum_ = 0.0, penalty_ = 0.0;
};

}  // namespace

LogisticFit fit_logistic(const Tensor& features, const std::vector<std::int64_t>& labels,
                         std::int64_t classes, const LogisticOptions& options,
                         const std::function<bool(std::int64_t, double)>& go_on) {
  if (features.shape().rank() != 2 || features.dim(0) < 1 || features.dim(1) < 1)
    fail("logistic", "features of shape {} are not (N, C)", features.shape().str());
  require(static_cast<std::int64_t>(labels.size()) == features.dim(0), "logistic",
          "{} labels for {} features", labels.size(), features.dim(0));
  require(classes >= 2, "logistic", "{} classes; at least 2 were expected", classes);
  require(options.c > 0.0 && std::isfinite(options.c), "logistic", "c {} is not above 0", options.c);
  for (const std::int64_t label : labels)
    require(label >= 0 && label < classes, "logistic", "label {} is outside the {} classes", label, classes);
  require(options.class_weights.empty() || static_cast<std::int64_t>(options.class_weights.size()) == classes,
          "logistic", "{} class weights for {} classes", options.class_weights.size(), classes);
  Objective objective(features, labels, classes, options);
  std::vector<double> x(objective.size());
  LogisticFit out;
  out.search = lbfgs(
      x, [&](const std::vector<double>& at, std::vector<double>& g) { return objective(at, g); },
      options.search, go_on);
  const std::int64_t C = features.dim(1);
  out.weight = Tensor({classes, C});
  out.bias = Tensor({classes});
  for (std::int64_t i = 0; i < classes * C; ++i)
    out.weight[i] = static_cast<float>(x[static_cast<std::size_t>(i)]);
  for (std::int64_t k = 0; k < classes; ++k)
    out.bias[k] = static_cast<float>(x[static_cast<std::size_t>(classes * C + k)]);
  return out;
}

}  // namespace locant
