// Mixup and cutmix; goldens of the boxes: tests/data/augment/timm.json.
#include "train/mixup.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parallel.h"
#include "train/batch.h"
#include "train/random_streams.h"

namespace locant {
namespace mixup_test {

using nlohmann::json;

TEST(Mixup, BetaHasItsMoments) {
  constexpr int kDraws = 50000;
  for (const double a : {0.01, 0.1, 0.2, 0.8, 1.0, 1.5, 8.0, 1000.0}) {
    Rng rng(7);
    double sum = 0.0, squares = 0.0, fourths = 0.0;
    bool within = true;
    for (int i = 0; i < kDraws; ++i) {
      const double l = draw_beta(a, rng);
      within = within && l >= 0.0 && l <= 1.0;
      sum += l - 0.5;
      squares += std::pow(l - 0.5, 2);
      fourths += std::pow(l - 0.5, 4);
    }
    EXPECT_TRUE(within) << a;
    const double variance = 1.0 / (4.0 * (2.0 * a + 1.0));
    EXPECT_NEAR(sum / kDraws, 0.0, 4.5 * std::sqrt(variance / kDraws)) << a;
    // The fourth central moment of Beta(a, a) is 3 variance^2 (2a + 1) / (2a + 3).
    const double fourth = 3.0 * variance * variance * (2.0 * a + 1.0) / (2.0 * a + 3.0);
    EXPECT_NEAR(squares / kDraws, variance,
                4.5 * std::sqrt(std::max(fourth - variance * variance, 1e-9) / kDraws))
        << a;
    EXPECT_NEAR(fourths / kDraws / fourth, 1.0, 0.06) << a;
  }
}

TEST(Mixup, BoxesOfCutmixAreTimms) {
  const json boxes = json::parse(std::ifstream(LOCANT_TEST_DATA "/augment/timm.json"))["cutmix"];
  ASSERT_EQ(boxes.size(), 4u * 7 * 3);
  for (const json& entry : boxes) {
    const std::int64_t rows = entry["picture"][0], columns = entry["picture"][1];
    const ResizeWindow box =
        cutmix_box(rows, columns, entry["share"], entry["centre"][0], entry["centre"][1]);
    EXPECT_EQ(json({box.top, box.left, box.rows, box.columns}), entry["box"]) << entry;
    EXPECT_EQ(1.0 - static_cast<double>(box.rows * box.columns) / static_cast<double>(rows * columns),
              entry["corrected"].get<double>())
        << entry;
  }
}

/// Picture i is i everywhere in channel 0 and -i in channel 1.
Tensor flags(std::int64_t batch, std::int64_t rows, std::int64_t columns) {
  Tensor out({batch, 2, rows, columns});
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    const std::int64_t picture = i / (2 * rows * columns);
    out[i] = static_cast<float>(i / (rows * columns) % 2 == 0 ? picture : -picture);
  }
  return out;
}

std::vector<std::int64_t> labels_of(std::int64_t batch) {
  std::vector<std::int64_t> labels;
  for (std::int64_t i = 0; i < batch; ++i) labels.push_back(10 + i);
  return labels;
}

TEST(Mixup, NothingAskedForIsNothingDone) {
  Tensor pictures = flags(4, 3, 5);
  const Tensor before = flags(4, 3, 5);
  const ClassTargets targets = mix_batch(pictures, labels_of(4), {}, 1, 2);
  EXPECT_EQ(targets.labels, labels_of(4));
  EXPECT_TRUE(targets.others.empty() && targets.shares.empty());
  EXPECT_TRUE(std::equal(before.values().begin(), before.values().end(), pictures.values().begin()));
  mix_batch(pictures, labels_of(4), {.mixup = 1.0, .mixup_prob = 0.0}, 1, 2);
  EXPECT_TRUE(std::equal(before.values().begin(), before.values().end(), pictures.values().begin()));
}

/// Every pixel tells of its picture's share.
void expect_mixed(const AugmentOptions& options, std::int64_t batch, std::int64_t step) {
  constexpr std::int64_t kRows = 12, kColumns = 20;
  Tensor pictures = flags(batch, kRows, kColumns);
  const ClassTargets targets = mix_batch(pictures, labels_of(batch), options, 3, step);
  EXPECT_EQ(targets.labels, labels_of(batch));
  if (targets.others.empty()) return;
  ASSERT_EQ(targets.others.size(), static_cast<std::size_t>(batch));
  for (std::int64_t i = 0; i < batch; ++i) {
    const std::int64_t j = batch - 1 - i;
    const auto n = static_cast<std::size_t>(i);
    EXPECT_EQ(targets.others[n], 10 + j);
    const double share = static_cast<double>(targets.shares[n]);
    EXPECT_TRUE(share >= 0.0 && share <= 1.0);
    double sum = 0.0;
    for (std::int64_t p = 0; p < kRows * kColumns; ++p) {
      const std::int64_t at = i * 2 * kRows * kColumns + p;
      const float value = pictures[at];
      EXPECT_EQ(pictures[at + kRows * kColumns], -value);
      sum += static_cast<double>(value) / (kRows * kColumns);
      if (options.mixup == 0.0) {
        EXPECT_TRUE(value == static_cast<float>(i) || value == static_cast<float>(j)) << value;
      } else if (options.cutmix == 0.0) {
        EXPECT_NEAR(value, share * static_cast<double>(i) + (1.0 - share) * static_cast<double>(j), 1e-5);
      }
    }
    EXPECT_NEAR(sum, share * static_cast<double>(i) + (1.0 - share) * static_cast<double>(j), 1e-4);
    if (options.mixup_mode == "batch") {
      EXPECT_EQ(targets.shares[n], targets.shares[0]);
    }
    if (options.mixup_mode == "pair") {
      EXPECT_EQ(targets.shares[n], targets.shares[static_cast<std::size_t>(j)]);
    }
  }
}

TEST(Mixup, PicturesAndSharesAgree) {
  for (const std::string mode : {"batch", "elem", "pair"})
    for (const std::int64_t batch : {1, 2, 6, 7})
      for (std::int64_t step = 0; step < 5; ++step) {
        expect_mixed({.mixup = 0.8, .mixup_mode = mode}, batch, step);
        expect_mixed({.cutmix = 1.0, .mixup_mode = mode}, batch, step);
        expect_mixed({.cutmix_minmax = {0.2, 0.8}, .mixup_mode = mode}, batch, step);
        expect_mixed({.mixup = 0.8, .cutmix = 1.0, .mixup_prob = 0.7, .mixup_mode = mode}, batch, step);
      }
}

TEST(Mixup, ElementsDiffer) {
  Tensor pictures = flags(6, 8, 8);
  const ClassTargets targets = mix_batch(pictures, labels_of(6), {.mixup = 1.0, .mixup_mode = "elem"}, 3, 0);
  EXPECT_NE(targets.shares[0], targets.shares[5]);
  EXPECT_NE(targets.shares[0], targets.shares[1]);
}

TEST(Mixup, ProbabilitiesAndBoxesAsAskedFor) {
  constexpr int kSteps = 4000;
  const AugmentOptions options{.mixup = 0.5, .cutmix = 1.0, .mixup_prob = 0.75, .mixup_switch_prob = 0.3};
  int mixed = 0, cut = 0;
  double share = 0.0;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    Rng rng = random_stream(5, RandomPurpose::mix, step);
    const Mix mix = draw_mixes(2, 50, 60, options, rng).front();
    mixed += mix.share != 1.0 || mix.cut;
    cut += mix.cut;
    if (!mix.cut) continue;
    share += mix.share;
    EXPECT_TRUE(mix.box.top >= 0 && mix.box.left >= 0 && mix.box.rows >= 0 && mix.box.columns >= 0 &&
                mix.box.top + mix.box.rows <= 50 && mix.box.left + mix.box.columns <= 60);
  }
  EXPECT_NEAR(mixed, kSteps * 0.75, 120);
  EXPECT_NEAR(cut, kSteps * 0.75 * 0.3, 120);
  // The edges cut boxes off: what is left of x is more than half on average, (1 - 1/2) of them and less.
  EXPECT_GT(share / cut, 0.55);
  EXPECT_LT(share / cut, 0.75);
  for (std::uint64_t step = 0; step < 500; ++step) {
    Rng rng = random_stream(5, RandomPurpose::mix, step);
    const Mix mix = draw_mixes(2, 50, 60, {.cutmix_minmax = {0.2, 0.8}}, rng).front();
    EXPECT_TRUE(mix.cut && mix.box.rows >= 10 && mix.box.rows < 40 && mix.box.columns >= 12 &&
                mix.box.columns < 48 && mix.box.top + mix.box.rows <= 50 &&
                mix.box.left + mix.box.columns <= 60);
  }
}

TEST(Mixup, SameBitsForAnyThreads) {
  const AugmentOptions options{.mixup = 0.8, .cutmix = 1.0, .mixup_mode = "elem"};
  const int before = num_threads();
  std::vector<std::vector<float>> bits;
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    Tensor pictures = flags(9, 96, 128);
    const ClassTargets targets = mix_batch(pictures, labels_of(9), options, 11, 4);
    bits.emplace_back(pictures.values().begin(), pictures.values().end());
    bits.back().insert(bits.back().end(), targets.shares.begin(), targets.shares.end());
    EXPECT_EQ(bits.back(), bits.front());
  }
  set_num_threads(before);
  Tensor pictures = flags(9, 96, 128);
  mix_batch(pictures, labels_of(9), options, 11, 5);
  EXPECT_FALSE(std::equal(pictures.values().begin(), pictures.values().end(), bits.front().begin()));
}

TEST(Mixup, TinyPicturesAndBadCounts) {
  for (const auto& [rows, columns] : {std::pair{1, 1}, {1, 300}, {2, 1}})
    for (const AugmentOptions& options :
         {AugmentOptions{.cutmix = 1.0}, AugmentOptions{.cutmix_minmax = {0.0, 1.0}},
          AugmentOptions{.cutmix_minmax = {1.0, 1.0}}})
      for (std::int64_t step = 0; step < 50; ++step) {
        Tensor pictures = flags(3, rows, columns);
        const ClassTargets targets = mix_batch(pictures, labels_of(3), options, 1, step);
        for (const float share : targets.shares) EXPECT_TRUE(share >= 0.0f && share <= 1.0f);
      }
  Tensor pictures = flags(3, 2, 2);
  EXPECT_THROW(mix_batch(pictures, labels_of(2), {}, 1, 1), Error);
  EXPECT_THROW(apply_mixes(pictures, {}), Error);
  EXPECT_THROW(mix_batch(pictures, labels_of(3), {.mixup = -1.0}, 1, 1), Error);
}

}  // namespace mixup_test
}  // namespace locant
