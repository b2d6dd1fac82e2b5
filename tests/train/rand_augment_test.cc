// Goldens: tests/data/augment/timm.json, by scripts/goldens/make_augment_fixtures.py.
#include "train/rand_augment.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "train/random_streams.h"

namespace locant {
namespace rand_augment_test {

using nlohmann::json;

json timm() { return json::parse(std::ifstream(LOCANT_TEST_DATA "/augment/timm.json")); }

RandOp op_named(const std::string& name) {
  for (int i = 0; i < kRandOps; ++i)
    if (rand_op_name(static_cast<RandOp>(i)) == name) return static_cast<RandOp>(i);
  ADD_FAILURE() << name;
  return RandOp::invert;
}

TEST(RandAugmentOps, ArgumentsAtEveryLevelAreTimms) {
  const json oracle = timm();
  const auto levels = oracle["levels"].get<std::vector<double>>();
  ASSERT_EQ(levels.size(), 13u);
  ASSERT_EQ(oracle["arguments"].size(), 2u * 12 * 2);
  for (const json& entry : oracle["arguments"])
    for (std::size_t i = 0; i < levels.size(); ++i)
      EXPECT_EQ(rand_op_argument(op_named(entry["op"]), levels[i], entry["increasing"], entry["negate"]),
                entry["arguments"][i].get<double>())
          << entry << " at level " << levels[i];
}

TEST(RandAugmentText, MeansWhatItMeansToTimm) {
  const json texts = timm()["texts"];
  ASSERT_FALSE(texts.empty());
  for (const json& entry : texts) {
    const RandAugment got = parse_rand_augment(entry["text"].get<std::string>());
    EXPECT_EQ(got.layers, entry["layers"]) << entry;
    EXPECT_EQ(got.magnitude, entry["magnitude"]) << entry;
    EXPECT_EQ(got.probability, entry["probability"]) << entry;
    EXPECT_EQ(got.magnitude_std, std::stod(entry["std"].get<std::string>())) << entry;
    EXPECT_EQ(got.magnitude_max, entry["max"]) << entry;
    EXPECT_EQ(got.weighted, !entry["weights"].is_null()) << entry;
    std::set<std::string> names;
    for (const std::string name : entry["ops"]) {
      EXPECT_EQ(got.increasing || !name.ends_with("Increasing"), true) << entry;
      names.insert(name.substr(0, name.find("Increasing")));
      if (name.starts_with("Posterize")) {
        EXPECT_EQ(got.increasing, name.ends_with("Increasing")) << entry;
      }
    }
    EXPECT_EQ(names.size(), static_cast<std::size_t>(kRandOps));
    for (int i = 0; i < kRandOps; ++i)
      EXPECT_EQ(names.count(std::string(rand_op_name(static_cast<RandOp>(i)))), 1u);
  }
}

TEST(RandAugmentText, RefusesEverythingElseInASentence) {
  for (const char* text : {"",
                           "ran",
                           "rand9",
                           "v0",
                           "augmix-m3",
                           "rand-",
                           "rand-m",
                           "rand-m9.5",
                           "rand-m-1",
                           "rand-mx9",
                           "rand-m9-",
                           "rand-m9--n2",
                           "rand-inc",
                           "rand-inc2",
                           "rand-w0",
                           "rand-t3a",
                           "rand-p1.5",
                           "rand-mstdx",
                           "rand-mstdnan",
                           "rand-m101",
                           "rand-n1e2",
                           "rand-mmax0",
                           "rand-tweights-n16",
                           "rand m9"}) {
    try {
      parse_rand_augment(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_TRUE(message.starts_with("[augment] ") &&
                  message.find("--aa " + std::string(text)) != std::string::npos)
          << message;
    }
  }
}

TEST(RandAugmentDraws, OperationsAreEvenOrByTheirWeights) {
  constexpr int kDraws = 30000;
  std::map<RandOp, int> even, first;
  const RandAugment plain = parse_rand_augment("rand-n3"), weighted = parse_rand_augment("rand-n15-tweights");
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    Rng rng(splitmix64(i));
    const std::vector<RandOp> ops = draw_rand_ops(plain, rng);
    ASSERT_EQ(ops.size(), 3u);
    for (const RandOp op : ops) ++even[op];
    const std::vector<RandOp> all = draw_rand_ops(weighted, rng);
    ++first[all.front()];
    ASSERT_EQ(std::set<RandOp>(all.begin(), all.end()).size(), 15u);
  }
  for (const auto& [op, count] : even) EXPECT_NEAR(count, kDraws * 3 / 15, 350) << rand_op_name(op);
  EXPECT_EQ(even.size(), 15u);
  const json texts = timm()["texts"];
  ASSERT_FALSE(texts.empty());
  for (const json& entry : texts) {
    if (entry["weights"].is_null()) continue;
    for (std::size_t i = 0; i < 15; ++i) {
      const std::string name = entry["ops"][i];
      const double p = entry["weights"][i], sigma = std::sqrt(kDraws * p * (1 - p));
      EXPECT_NEAR(first[op_named(name.substr(0, name.find("Increasing")))], kDraws * p, 5 * sigma) << name;
    }
  }
}

Image ramp() {
  Image image{16, 16, {}};
  for (int i = 0; i < 16 * 16 * 3; ++i) image.rgb.push_back(static_cast<std::uint8_t>(i / 3 + 10 * (i % 3)));
  return image;
}

TEST(RandAugmentDraws, ProbabilityAndMagnitudeDecide) {
  const Image image = ramp();
  const auto changed = [&](const char* text) {
    int count = 0;
    for (std::uint64_t i = 0; i < 400; ++i) {
      Rng rng(splitmix64(i));
      count += rand_augment(image, parse_rand_augment(text), {}, {0, 0, 0}, rng).rgb != image.rgb;
    }
    return count;
  };
  EXPECT_EQ(changed("rand-n0"), 0);
  EXPECT_EQ(changed("rand-p0"), 0);
  // At level 0 what increases does nothing here: invert, which has no level, and posterize, which starts at 4
  // bits, remain.
  EXPECT_NEAR(changed("rand-n1-p1-m0-inc1"), 400 * 2 / 15, 30);
  EXPECT_NEAR(changed("rand-n1-p1-m9-inc1"), 400 * 13 / 15, 35);
  EXPECT_NEAR(changed("rand-n1-p0.5-m9-inc1"), 200 * 13 / 15, 40);
  // A spread of levels reaches beyond level 0.
  EXPECT_GT(changed("rand-n1-p1-m0-mstd5-inc1"), 200);
}

TEST(RandAugmentDraws, FilterIsTheOneGivenOrEither) {
  const Image image = ramp();
  const RandAugment options = parse_rand_augment("rand-n1-p1-m7-inc1");
  int linear = 0, cubic = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const auto made = [&](std::optional<ResizeFilter> filter) {
      Rng rng(splitmix64(i));
      return rand_augment(image, options, filter, {9, 9, 9}, rng).rgb;
    };
    const auto a = made(ResizeFilter::bilinear), b = made(ResizeFilter::bicubic), either = made({});
    EXPECT_TRUE(either == a || either == b);
    if (a == b) continue;
    linear += either == a;
    cubic += either == b;
  }
  EXPECT_GT(linear, 30);
  EXPECT_GT(cubic, 30);
}

}  // namespace rand_augment_test
}  // namespace locant
