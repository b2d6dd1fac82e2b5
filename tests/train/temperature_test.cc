#include "train/temperature.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/rng.h"

namespace locant {
namespace temperature_test {

struct Sample {
  std::vector<float> logits;
  std::vector<std::int64_t> labels;
  LabelledLogits data() const { return {logits, labels}; }
};

// Logits of independent normals; a label is drawn by softmax(logits / truth), so that `truth` is about the
// best temperature.
Sample drawn(std::int64_t pictures, std::int64_t classes, double truth, std::uint64_t seed) {
  Sample out;
  Rng rng(seed);
  for (std::int64_t i = 0; i < pictures; ++i) {
    std::vector<double> weights;
    double sum = 0.0;
    for (std::int64_t c = 0; c < classes; ++c) {
      out.logits.push_back(3.0f * rng.normal());
      weights.push_back(std::exp(out.logits.back() / truth));
      sum += weights.back();
    }
    double left = rng.uniform() * sum;
    std::int64_t label = 0;
    while (label + 1 < classes && left >= weights[static_cast<std::size_t>(label)])
      left -= weights[static_cast<std::size_t>(label++)];
    out.labels.push_back(label);
  }
  return out;
}

double plain_nll(const Sample& sample, double temperature) {
  const std::size_t classes = sample.logits.size() / sample.labels.size();
  double all = 0.0;
  for (std::size_t i = 0; i < sample.labels.size(); ++i) {
    double sum = 0.0;
    for (std::size_t c = 0; c < classes; ++c) sum += std::exp(sample.logits[i * classes + c] / temperature);
    all +=
        std::log(sum) - sample.logits[i * classes + static_cast<std::size_t>(sample.labels[i])] / temperature;
  }
  return all / static_cast<double>(sample.labels.size());
}

TEST(Temperature, NllIsThePlainFormula) {
  const Sample sample = drawn(300, 7, 1.0, 1);
  for (const double t : {0.3, 1.0, 4.0}) EXPECT_NEAR(mean_nll(sample.data(), t), plain_nll(sample, t), 1e-12);
  const std::vector<float> large = {1000.0f, 0.0f};  // no overflow
  const std::vector<std::int64_t> second = {1};
  EXPECT_DOUBLE_EQ(mean_nll({large, second}), 1000.0);
}

TEST(Temperature, ProbabilitiesAreTheSoftmax) {
  const std::vector<float> logits = {0.0f, std::log(3.0f)};
  EXPECT_NEAR(class_probability(logits, 1), 0.75, 1e-7);
  EXPECT_NEAR(class_probability(logits, 0), 0.25, 1e-7);
  EXPECT_NEAR(class_probability(logits, 1, 0.5), 0.9, 1e-7);
  EXPECT_EQ(class_probabilities(logits, 0.5)[1], class_probability(logits, 1, 0.5));
}

TEST(Temperature, IsTheGridsMinimum) {
  for (const double truth : {0.2, 0.8, 1.0, 2.5, 9.0}) {
    const Sample sample = drawn(2000, 5, truth, 17);
    const double fitted = fit_temperature(sample.data()), best = plain_nll(sample, fitted);
    double of_grid = 0.0, least = HUGE_VAL;
    constexpr int kSteps = 1000;
    for (int i = 0; i <= kSteps; ++i) {
      const double t = std::pow(10.0, -2.0 + 4.0 * i / kSteps), nll = plain_nll(sample, t);
      if (nll < least) {
        least = nll;
        of_grid = t;
      }
    }
    EXPECT_LE(best, least + 1e-13) << truth;
    EXPECT_NEAR(std::log10(fitted), std::log10(of_grid), 4.0 / kSteps) << truth;
    EXPECT_NEAR(fitted / truth, 1.0, 0.25) << truth;
  }
}

// Three of four pictures are right, each by a margin of 4: the best softmax says 3/4, so 4 / T = log 3.
TEST(Temperature, ByHand) {
  const std::vector<float> logits = {4, 0, 4, 0, 4, 0, 4, 0};
  const std::vector<std::int64_t> labels = {0, 0, 1, 0};
  EXPECT_NEAR(fit_temperature({logits, labels}), 4.0 / std::log(3.0), 1e-9);
}

TEST(Temperature, EndsAreSaid) {
  const std::vector<float> logits = {2, 0, 0, 3}, equal = {1, 1, 5, 5};
  const std::vector<std::int64_t> right = {0, 1}, wrong = {1, 0};
  EXPECT_EQ(fit_temperature({logits, right}), kLeastTemperature);
  EXPECT_EQ(fit_temperature({logits, wrong}), kLargestTemperature);
  EXPECT_EQ(fit_temperature({equal, right}), 1.0);
}

TEST(Temperature, SameBitsForAnyThreads) {
  const Sample sample = drawn(3000, 4, 2.0, 5);
  const int before = num_threads();
  set_num_threads(1);
  const double one = fit_temperature(sample.data());
  set_num_threads(3);
  EXPECT_EQ(fit_temperature(sample.data()), one);
  set_num_threads(before);
}

// Two classes, margin m: confidence 1 / (1 + exp(-m)). Confidences 3/4 (twice, once right) and 0.9 (twice,
// both right) and 1/2 exactly (once, right): bins (11/15, 12/15], (13/15, 14/15], (7/15, 8/15].
TEST(Temperature, CalibrationErrorByHand) {
  const float three = std::log(3.0f), nine = std::log(9.0f);
  const std::vector<float> logits = {three, 0, three, 0, nine, 0, 0, nine, 0, 0};
  const std::vector<std::int64_t> labels = {0, 1, 0, 1, 0};
  const double by_hand = (std::abs(1.0 - 1.5) + std::abs(2.0 - 1.8) + std::abs(1.0 - 0.5)) / 5.0;
  EXPECT_NEAR(calibration_error({logits, labels}), by_hand, 1e-7);
  // One bin: the mean confidence against the accuracy.
  EXPECT_NEAR(calibration_error({logits, labels}, 1.0, 1), std::abs(4.0 - 3.8) / 5.0, 1e-7);
  // At half the temperature the odds are squared: 9/10, 81/82, 1/2.
  const double sharper = (std::abs(1.0 - 1.8) + std::abs(2.0 - 2 * 81.0 / 82.0) + std::abs(1.0 - 0.5)) / 5.0;
  EXPECT_NEAR(calibration_error({logits, labels}, 0.5), sharper, 1e-7);
}

TEST(Temperature, CalibratesOnOneHalfAndMeasuresOnTheOther) {
  const Sample sample = drawn(4000, 6, 2.0, 99);
  std::vector<std::string> names;
  Sample fitted, measured;
  for (std::size_t i = 0; i < sample.labels.size(); ++i) {
    names.push_back("class/" + std::to_string(i) + ".png");
    Sample& half = fits_temperature(names.back()) ? fitted : measured;
    half.labels.push_back(sample.labels[i]);
    const auto row = sample.data().row(static_cast<std::int64_t>(i));
    half.logits.insert(half.logits.end(), row.begin(), row.end());
  }
  EXPECT_NEAR(static_cast<double>(fitted.labels.size()), 2000.0, 200.0);
  const Calibration c = calibrate(sample.data(), names);
  EXPECT_EQ(c.fitted_on, fitted.data().size());
  EXPECT_EQ(c.measured_on, measured.data().size());
  EXPECT_EQ(c.temperature, fit_temperature(fitted.data()));
  EXPECT_EQ(c.nll_before, mean_nll(measured.data()));
  EXPECT_EQ(c.nll_after, mean_nll(measured.data(), c.temperature));
  EXPECT_EQ(c.ece_before, calibration_error(measured.data()));
  EXPECT_EQ(c.ece_after, calibration_error(measured.data(), c.temperature));
  EXPECT_LT(c.nll_after, c.nll_before);
  EXPECT_LT(c.ece_after, c.ece_before / 3);
}

TEST(Temperature, RefusesWhatCannotBe) {
  const std::vector<float> logits = {1, 0};
  const std::vector<std::int64_t> label = {0}, other = {2}, none;
  EXPECT_THROW(mean_nll({logits, other}), Error);
  EXPECT_THROW(mean_nll({{}, none}), Error);
  EXPECT_THROW(mean_nll({logits, label}, 0.0), Error);
  EXPECT_THROW(mean_nll({logits, label}, std::nan("")), Error);
  EXPECT_THROW(calibration_error({logits, label}, 1.0, 0), Error);
  EXPECT_THROW(calibrate({logits, label}, {"one"}), Error);  // a side is empty
  EXPECT_THROW(calibrate({logits, label}, {}), Error);
}

}  // namespace temperature_test
}  // namespace locant
