#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace locant {

/// Logits (pictures, classes) and the class of each picture.
struct LabelledLogits {
  std::span<const float> logits;
  std::span<const std::int64_t> labels;

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  std::int64_t classes() const {
    return labels.empty() ? 0 : static_cast<std::int64_t>(logits.size()) / size();
  }
  std::span<const float> row(std::int64_t i) const {
    return logits.subspan(static_cast<std::size_t>(i * classes()), static_cast<std::size_t>(classes()));
  }
};

/// softmax(logits / temperature) in float64, of all classes and of one.
std::vector<double> class_probabilities(std::span<const float> logits, double temperature = 1.0);
double class_probability(std::span<const float> logits, std::int64_t index, double temperature = 1.0);

/// Mean over the pictures of -log softmax(logits / temperature)_label. The same bits for any number of
/// threads. Throws Error for no picture, labels out of range, and a temperature not above 0.
double mean_nll(const LabelledLogits& data, double temperature = 1.0);

/// Expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3):
/// sum over `bins` equal intervals ((m - 1) / bins, m / bins] of the likeliest class's probability, of
/// pictures in it / pictures * |part of them that is right - their mean probability|. Throws as mean_nll.
double calibration_error(const LabelledLogits& data, double temperature = 1.0, int bins = 15);

/// Where a fitted temperature lies at the most.
inline constexpr double kLeastTemperature = 0.01, kLargestTemperature = 100.0;

/// The temperature that minimises mean_nll (the same, section 4.2). With b = 1 / T the loss is convex in b,
/// its slope sum_i (sum_c softmax(b z_i)_c z_ic - z_i,label): the root of that in log T by Newton's steps,
/// halving where one leaves the interval that holds it, to 1e-10. 1 where no temperature changes anything, an
/// end of [0.01, 100] where the minimum lies beyond. Throws as mean_nll.
double fit_temperature(const LabelledLogits& data);

/// A temperature fitted on some pictures and measured on the others.
struct Calibration {
  double temperature = 1.0;
  std::int64_t fitted_on = 0, measured_on = 0;  ///< pictures
  double nll_before = 0.0, nll_after = 0.0;     ///< mean_nll of those it is measured on, at 1 and at it
  double ece_before = 0.0, ece_after = 0.0;     ///< calibration_error of them, 15 bins
};
/// Fits on the pictures whose names fits_temperature() picks. Throws Error when a side is left empty.
Calibration calibrate(const LabelledLogits& data, const std::vector<std::string>& names);
/// About half of all names, by a hash of each: a picture stays on its side when others come or go, and the
/// side tells nothing of the one it had in a split for training.
bool fits_temperature(const std::string& name);

}  // namespace locant
