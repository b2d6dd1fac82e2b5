#include "models/classify.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "models/registry.h"

namespace locant {
namespace classify_test {

TEST(RankClasses, SoftmaxBestFirstWithNames) {
  const Tensor logits =
      Tensor::from({2, 3}, std::vector<float>{0.0f, std::log(3.0f), 0.0f, 1000.0f, 0.0f, 1000.0f});
  const auto predictions = rank_classes(logits, {"a", "b"}, 2);
  ASSERT_EQ(predictions.size(), 2u);
  ASSERT_EQ(predictions[0].top.size(), 2u);
  EXPECT_EQ(predictions[0].top[0].label, "b");
  EXPECT_EQ(predictions[0].top[0].index, 1);
  EXPECT_NEAR(predictions[0].top[0].probability, 0.6f, 1e-6f);
  EXPECT_EQ(predictions[0].top[1].index, 0);  // equal probabilities by index
  EXPECT_NEAR(predictions[0].top[1].probability, 0.2f, 1e-6f);
  // Large logits do not overflow; a class without a name is called by its number.
  EXPECT_NEAR(predictions[1].top[0].probability, 0.5f, 1e-6f);
  EXPECT_EQ(predictions[1].top[1].label, "2");
}

TEST(RankClasses, NeverMoreThanTheClasses) {
  EXPECT_EQ(rank_classes(Tensor::zeros({1, 4}), {}, 100)[0].top.size(), 4u);
}

TEST(RankClasses, RefusesWhatMakesNoSense) {
  EXPECT_THROW(rank_classes(Tensor::zeros({1, 4}), {}, 0), Error);
  EXPECT_THROW(rank_classes(Tensor::zeros({4}), {}, 1), Error);
  EXPECT_THROW(rank_classes(Tensor::full({1, 4}, NAN), {}, 1), Error);
}

LoadedModel random_digits_model() {
  const ModelEntry& entry = find_model("swin_digits");
  RandomSource source(1);
  LoadedModel loaded;
  loaded.model = make_model(entry.family, entry.config, Weights(source, WeightMode::inference));
  loaded.name = entry.name;
  loaded.preprocess = entry.preprocess;
  return loaded;
}

TEST(Classify, EachPictureGetsItsOwnAnswer) {
  const LoadedModel loaded = random_digits_model();
  Image dark{28, 28, std::vector<std::uint8_t>(28 * 28 * 3, 10)}, striped = dark;
  for (std::size_t i = 0; i < striped.rgb.size(); i += 7) striped.rgb[i] = 255;
  const auto both = classify(loaded, {dark, striped}, 10);
  ASSERT_EQ(both.size(), 2u);
  for (const Prediction& prediction : both) {
    ASSERT_EQ(prediction.top.size(), 10u);
    double sum = 0.0;
    for (const ClassScore& score : prediction.top) sum += score.probability;
    EXPECT_NEAR(sum, 1.0, 1e-5);
  }
  const auto alone = classify(loaded, {striped}, 10);
  for (std::size_t k = 0; k < 10; ++k) {
    EXPECT_EQ(alone[0].top[k].index, both[1].top[k].index);
    EXPECT_NEAR(alone[0].top[k].probability, both[1].top[k].probability, 1e-5);
  }
  EXPECT_NE(both[0].top[0].probability, both[1].top[0].probability);
}

TEST(Classify, RefusesNoPicture) { EXPECT_THROW(classify(random_digits_model(), {}, 1), Error); }

}  // namespace classify_test
}  // namespace locant
