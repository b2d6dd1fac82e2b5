#include "train/temperature.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"
#include "train/confusion.h"

namespace locant {
namespace {

void check(const LabelledLogits& data, double temperature) {
  const std::int64_t classes = data.classes();
  require(data.size() > 0 && static_cast<std::int64_t>(data.logits.size()) == data.size() * classes,
          "calibrate", "{} logits for {} pictures", data.logits.size(), data.size());
  require(temperature > 0.0 && std::isfinite(temperature), "calibrate",
          "a temperature of {}; it has to be above 0", temperature);
  for (const std::int64_t label : data.labels)
    require(label >= 0 && label < classes, "calibrate", "label {} is not among the {} classes", label,
            classes);
}

/// Of one picture at inverse temperature b, with the largest logit taken off: log sum exp(b z), the mean of z
/// and its variance under the softmax.
struct Moments {
  double log_sum = 0.0, mean = 0.0, variance = 0.0;
};

Moments moments_of(std::span<const float> logits, double b) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0, first = 0.0, second = 0.0;
  for (const float logit : logits) {
    const double z = logit - largest, weight = std::exp(b * z);
    sum += weight;
    first += weight * z;
    second += weight * z * z;
  }
  const double mean = first / sum;
  return {std::log(sum) + b * largest, mean + largest, std::max(second / sum - mean * mean, 0.0)};
}

struct Sums {
  double nll = 0.0, slope = 0.0, curvature = 0.0;
};

/// In pieces of a fixed size, added in order.
Sums sums_of(const LabelledLogits& data, double b) {
  constexpr std::int64_t kPiece = 256;
  const std::int64_t pieces = (data.size() + kPiece - 1) / kPiece;
  std::vector<Sums> parts(static_cast<std::size_t>(pieces));
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      Sums& part = parts[static_cast<std::size_t>(piece)];
      for (std::int64_t i = piece * kPiece; i < std::min((piece + 1) * kPiece, data.size()); ++i) {
        const std::span<const float> row = data.row(i);
        const Moments m = moments_of(row, b);
        const double own = row[static_cast<std::size_t>(data.labels[static_cast<std::size_t>(i)])];
        part.nll += m.log_sum - b * own;
        part.slope += m.mean - own;
        part.curvature += m.variance;
      }
    }
  });
  Sums all;
  for (const Sums& part : parts) {
    all.nll += part.nll;
    all.slope += part.slope;
    all.curvature += part.curvature;
  }
  return all;
}

struct Half {
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  LabelledLogits view() const { return {logits, labels}; }
};

}  // namespace

std::vector<double> class_probabilities(std::span<const float> logits, double temperature) {
  const Moments m = moments_of(logits, 1.0 / temperature);
  std::vector<double> out;
  for (const float logit : logits) out.push_back(std::exp(logit / temperature - m.log_sum));
  return out;
}

double class_probability(std::span<const float> logits, std::int64_t index, double temperature) {
  const Moments m = moments_of(logits, 1.0 / temperature);
  return std::exp(logits[static_cast<std::size_t>(index)] / temperature - m.log_sum);
}

double mean_nll(const LabelledLogits& data, double temperature) {
  check(data, temperature);
  return sums_of(data, 1.0 / temperature).nll / static_cast<double>(data.size());
}

double calibration_error(const LabelledLogits& data, double temperature, int bins) {
  check(data, temperature);
  require(bins >= 1, "calibrate", "{} bins; at least one is needed", bins);
  struct Bin {
    double confidence = 0.0, right = 0.0;
  };
  std::vector<Bin> all(static_cast<std::size_t>(bins));
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::int64_t predicted = top_classes(data.row(i), 1).front();
    const double confidence = class_probability(data.row(i), predicted, temperature);
    const auto bin = static_cast<int>(std::ceil(confidence * bins)) - 1;
    Bin& own = all[static_cast<std::size_t>(std::clamp(bin, 0, bins - 1))];
    own.confidence += confidence;
    own.right += predicted == data.labels[static_cast<std::size_t>(i)] ? 1.0 : 0.0;
  }
  double error = 0.0;
  for (const Bin& bin : all) error += std::abs(bin.right - bin.confidence);
  return error / static_cast<double>(data.size());
}

double fit_temperature(const LabelledLogits& data) {
  check(data, 1.0);
  double low = std::log(kLeastTemperature), high = std::log(kLargestTemperature), u = 0.0;
  const auto at = [&](double log_t) { return sums_of(data, std::exp(-log_t)); };
  // The slope in b falls as log T grows: above 0 the temperature is too low.
  const bool lower = at(low).slope <= 0.0, higher = at(high).slope >= 0.0;
  if (lower || higher) return lower && higher ? 1.0 : lower ? kLeastTemperature : kLargestTemperature;
  constexpr int kMostSteps = 200;
  for (int step = 0; step < kMostSteps && high - low > 1e-10; ++step) {
    const Sums sums = at(u);
    if (sums.slope == 0.0) break;
    (sums.slope > 0.0 ? low : high) = u;
    const double newton = u + sums.slope / (std::exp(-u) * sums.curvature);
    const double next = newton > low && newton < high ? newton : (low + high) / 2;
    if (std::abs(next - u) <= 1e-10) return std::exp(next);
    u = next;
  }
  return std::exp(u);
}

bool fits_temperature(const std::string& name) {
  constexpr std::uint64_t kOwnStream = 0x7465'6D70'6572'6174ULL;
  return splitmix64(splitmix64(fnv1a64(name)) ^ kOwnStream) >> 63 == 0;
}

Calibration calibrate(const LabelledLogits& data, const std::vector<std::string>& names) {
  check(data, 1.0);
  require(static_cast<std::int64_t>(names.size()) == data.size(), "calibrate", "{} names for {} pictures",
          names.size(), data.size());
  Half fitted, measured;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    Half& half = fits_temperature(names[static_cast<std::size_t>(i)]) ? fitted : measured;
    half.logits.insert(half.logits.end(), data.row(i).begin(), data.row(i).end());
    half.labels.push_back(data.labels[static_cast<std::size_t>(i)]);
  }
  require(!fitted.labels.empty() && !measured.labels.empty(), "calibrate",
          "of {} pictures {} are there to fit a temperature on and {} to measure it on; more are needed",
          data.size(), fitted.labels.size(), measured.labels.size());
  Calibration out;
  out.temperature = fit_temperature(fitted.view());
  out.fitted_on = fitted.view().size();
  out.measured_on = measured.view().size();
  out.nll_before = mean_nll(measured.view());
  out.nll_after = mean_nll(measured.view(), out.temperature);
  out.ece_before = calibration_error(measured.view());
  out.ece_after = calibration_error(measured.view(), out.temperature);
  return out;
}

}  // namespace locant
