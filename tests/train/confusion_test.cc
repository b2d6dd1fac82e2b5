#include "train/confusion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/error.h"
#include "train/evaluate.h"

namespace locant {
namespace confusion_test {

using Indices = std::vector<std::int64_t>;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(Confusion, TopClassesAreByLogitThenIndex) {
  const std::vector<float> logits = {1.0f, 3.0f, kNaN, 3.0f, -2.0f};
  EXPECT_EQ(top_classes(logits, 3), (Indices{1, 3, 0}));
  EXPECT_EQ(top_classes(logits, 9), (Indices{1, 3, 0, 4, 2}));
  const Indices all = top_classes(logits, 5);
  for (std::size_t place = 0; place < all.size(); ++place)
    EXPECT_EQ(rank_of(logits, all[place]), static_cast<std::int64_t>(place));
}

// By hand: class 0 is right 2 of 3 times, 1 is right 1 of 2, 2 has no picture and is predicted once, 3 is
// neither.
TEST(Confusion, PerClassNumbersByHand) {
  const Confusion confusion = count_confusion({0, 0, 0, 1, 1}, {0, 0, 1, 1, 2}, 4);
  EXPECT_EQ(confusion.at(0, 0), 2);
  EXPECT_EQ(confusion.at(0, 1), 1);
  EXPECT_EQ(confusion.at(1, 0), 0);
  EXPECT_EQ(confusion.at(1, 2), 1);
  EXPECT_EQ(confusion.pictures, (Indices{3, 2, 0, 0}));
  EXPECT_EQ(confusion.predicted, (Indices{2, 2, 1, 0}));
  const std::vector<ClassResult> results = class_results(confusion);
  ASSERT_EQ(results.size(), 4U);
  EXPECT_DOUBLE_EQ(results[0].precision, 1.0);
  EXPECT_DOUBLE_EQ(results[0].recall, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(results[0].f1, 0.8);
  EXPECT_DOUBLE_EQ(results[1].precision, 0.5);
  EXPECT_DOUBLE_EQ(results[1].recall, 0.5);
  EXPECT_DOUBLE_EQ(results[1].f1, 0.5);
  EXPECT_DOUBLE_EQ(results[2].precision, 0.0);
  EXPECT_TRUE(std::isnan(results[2].recall));
  EXPECT_DOUBLE_EQ(results[2].f1, 0.0);
  EXPECT_TRUE(std::isnan(results[3].precision) && std::isnan(results[3].recall) && std::isnan(results[3].f1));
}

TEST(Confusion, WorstFirstEndsWithClassesWithoutPictures) {
  const Confusion confusion = count_confusion({0, 0, 0, 1, 1, 4}, {0, 0, 1, 1, 2, 2}, 6);
  Indices order;
  for (const ClassResult& r : worst_first(class_results(confusion))) order.push_back(r.index);
  EXPECT_EQ(order, (Indices{4, 1, 0, 2}));
  EXPECT_EQ(most_confused(confusion, 9), (Indices{0, 1, 2, 4}));
  EXPECT_EQ(most_confused(confusion, 2), (Indices{1, 2}));  // in two mistakes each
  EXPECT_TRUE(most_confused(count_confusion({0, 1}, {0, 1}, 2), 2).empty());
}

TEST(Confusion, RefusesWhatIsNoClass) {
  EXPECT_THROW(count_confusion({0, 1}, {0}, 2), Error);
  EXPECT_THROW(count_confusion({0, 2}, {0, 1}, 2), Error);
  EXPECT_THROW(count_confusion({0, 1}, {0, -1}, 2), Error);
}

// Six classes: the label stands first, second, fifth and sixth.
TEST(Evaluation, MeasuresTopOneTopFiveAndLoss) {
  Evaluation evaluation;
  evaluation.add(Tensor::from({2, 6}, std::vector<float>{9, 1, 2, 3, 4, 5, 9, 8, 2, 3, 4, 5}), {0, 1});
  evaluation.add(Tensor::from({2, 6}, std::vector<float>{9, 8, 7, 6, 5, 4, 0, 0, 0, 0, 0, 0}), {4, 5});
  evaluation.measure();
  EXPECT_DOUBLE_EQ(evaluation.accuracy, 0.25);
  EXPECT_DOUBLE_EQ(evaluation.top5, 0.75);
  EXPECT_EQ(evaluation.predictions(), (Indices{0, 0, 0, 0}));
  double loss = std::log(6.0);  // of six equal logits
  for (const auto& [label, row] : {std::pair{0, std::vector<double>{9, 1, 2, 3, 4, 5}},
                                   {1, {9, 8, 2, 3, 4, 5}},
                                   {4, {9, 8, 7, 6, 5, 4}}}) {
    double sum = 0.0;
    for (const double z : row) sum += std::exp(z);
    loss += std::log(sum) - row[static_cast<std::size_t>(label)];
  }
  EXPECT_NEAR(evaluation.loss, loss / 4, 1e-12);
  EXPECT_THROW(evaluation.add(Tensor::zeros({1, 5}), {0}), Error);
  EXPECT_THROW(evaluation.add(Tensor::zeros({1, 6}), {0, 1}), Error);
}

TEST(Evaluation, OfNothingIsZero) {
  Evaluation evaluation;
  evaluation.measure();
  EXPECT_EQ(evaluation.accuracy, 0.0);
  EXPECT_EQ(evaluation.classes(), 0);
}

}  // namespace confusion_test
}  // namespace locant
