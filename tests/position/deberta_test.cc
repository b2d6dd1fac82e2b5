#include "position/deberta.h"

#include "core/error.h"
#include "tests/support/gradcheck.h"

namespace locant {
namespace deberta_test {

TEST(Deberta, FirstVersionsIndexByHand) {
  constexpr int kWant[4][4] = {{2, 1, 0, 0}, {3, 2, 1, 0}, {3, 3, 2, 1}, {3, 3, 3, 2}};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_EQ(deberta_row({.S = 2, .max_position = 0}, i - j), kWant[i][j]);
}

TEST(Deberta, LogBucketsAreThoseOfTheCheckpoints) {
  constexpr DebertaBuckets kBuckets{.S = 256, .max_position = 512};
  constexpr int kGolden[][2] = {{0, 0},     {5, 5},     {128, 128}, {129, 129}, {130, 130},
                                {131, 131}, {200, 169}, {256, 192}, {300, 207}, {400, 233},
                                {500, 254}, {509, 255}, {510, 255}, {511, 255}};
  for (const auto& [distance, bucket] : kGolden) {
    EXPECT_EQ(deberta_bucket(kBuckets, distance), bucket) << distance;
    EXPECT_EQ(deberta_bucket(kBuckets, -distance), -bucket) << distance;
  }
}

TEST(Deberta, ClippingFirstMovesOnlyTheFarFuture) {
  constexpr DebertaBuckets kHuggingFace{.S = 256, .max_position = 512},
      kOfficial{.S = 256, .max_position = 512, .clip_first = true};
  for (int distance = -511; distance <= 900; ++distance)
    EXPECT_EQ(deberta_row(kHuggingFace, distance), deberta_row(kOfficial, distance)) << distance;
  EXPECT_EQ(deberta_row(kHuggingFace, -512), 0);
  EXPECT_EQ(deberta_row(kOfficial, -512), 1);
  EXPECT_EQ(deberta_row(kHuggingFace, 512), 511);
}

TEST(Deberta, ScaleCountsTheTerms) {
  const Var q(Tensor::zeros({1, 4, 6})), table(Tensor::zeros({4, 6}));
  const auto scale = [&](const Var& keys, const Var& queries) {
    AttentionOptions options;
    options.heads = 2;
    add_deberta({}, {.buckets = {.S = 2, .max_position = 0}, .keys = keys, .queries = queries}, q, q,
                options);
    EXPECT_EQ(options.terms.size(), static_cast<std::size_t>(keys.defined() + queries.defined()));
    return *options.scale;
  };
  EXPECT_FLOAT_EQ(scale(table, table), 1.0f / 3.0f);
  EXPECT_FLOAT_EQ(scale(table, {}), 1.0f / std::sqrt(6.0f));
  EXPECT_FLOAT_EQ(scale({}, {}), 1.0f / std::sqrt(3.0f));
}

TEST(Deberta, ShortSequencesReadTheMiddleOfTheTable) {
  const Var q(Tensor::zeros({1, 3, 2}));
  AttentionOptions options;
  options.heads = 1;
  add_deberta({}, {.buckets = {.S = 256}, .keys = Var(Tensor::zeros({512, 2}))}, q, q, options);
  const auto& term = std::get<AttentionTerm::Bucket>(options.terms.at(0).kind);
  EXPECT_EQ(term.numbers.shape(), (Shape{1, 3, 1, 5}));  // distances -2 to 2
}

TEST(Deberta, RefusesWhatDoesNotFit) {
  const Var q(Tensor::zeros({1, 4, 6}));
  const auto add = [&](const Tensor& keys, const Tensor& queries) {
    AttentionOptions options;
    options.heads = 2;
    add_deberta({}, {.buckets = {.S = 2, .max_position = 0}, .keys = Var(keys), .queries = Var(queries)}, q,
                q, options);
  };
  EXPECT_NO_THROW(add(Tensor::zeros({4, 6}), Tensor::zeros({4, 6})));
  EXPECT_THROW(add(Tensor::zeros({5, 6}), Tensor::zeros({4, 6})), Error);
  EXPECT_THROW(add(Tensor::zeros({4, 6}), Tensor::zeros({4, 3})), Error);
  EXPECT_THROW(deberta_gather({.S = 0, .max_position = 0}, 4, 4), Error);
  EXPECT_THROW(deberta_gather({.S = 256, .max_position = 100}, 4, 4), Error);
  EXPECT_THROW(deberta_gather({.S = 256, .max_position = -512}, 4, 4), Error);
  EXPECT_THROW(deberta_gather({}, -4, 4), Error);
}

}  // namespace deberta_test
}  // namespace locant
