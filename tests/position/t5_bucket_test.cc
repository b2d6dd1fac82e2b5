#include "position/t5_bucket.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/position/sine_numbers.h"

namespace locant {
namespace t5_bucket_test {

// Distances at which the next bucket begins.
void expect_changes(const T5Buckets& b, int sign, std::int64_t first_bucket,
                    const std::vector<std::int64_t>& at) {
  std::int64_t bucket = first_bucket;
  std::size_t next = 0;
  for (std::int64_t n = 0; n < 5000; ++n) {
    while (next < at.size() && n == at[next]) ++bucket, ++next;
    EXPECT_EQ(t5_bucket(b, sign * n), bucket) << sign * n;
  }
}

TEST(T5Bucket, ChangesOfTheSpec) {
  expect_changes({}, -1, 0, {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91});
  std::vector<std::int64_t> causal;
  for (std::int64_t n = 1; n < 16; ++n) causal.push_back(n);
  for (const std::int64_t n : {16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113})
    causal.push_back(n);
  expect_changes({.bidirectional = false}, -1, 0, causal);
  EXPECT_EQ(t5_bucket({}, 1), 17);
  EXPECT_EQ(t5_bucket({}, 91), 31);
  EXPECT_EQ(t5_bucket({}, 4999), 31);
  EXPECT_EQ(t5_bucket({.bidirectional = false}, 5), 0);
  for (std::int64_t n = -5000; n <= 5000; ++n) EXPECT_NE(t5_bucket({}, n), 16);
}

TEST(T5Bucket, MatricesOfFour) {
  constexpr int kBoth[16] = {0, 17, 18, 19, 1, 0, 17, 18, 2, 1, 0, 17, 3, 2, 1, 0};
  constexpr int kCausal[16] = {0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 3, 2, 1, 0};
  for (const bool both : {true, false}) {
    AttentionOptions options;
    options.heads = 2;
    add_t5_bucket({{.bidirectional = both}, testing::sine({32, 2}, 0)}, 4, 4, 0, options);
    const auto rows = testing::rows_by_map(*testing::gather_of(options.terms.at(0)).map);
    for (int n = 0; n < 16; ++n)
      EXPECT_EQ(rows[static_cast<std::size_t>(n)], both ? kBoth[n] : kCausal[n]) << n;
    EXPECT_EQ(options.scale, 1.0f);
    EXPECT_EQ(options.visibility.causal, !both);
  }
}

// float32 and the double of the equation fall into the same bucket.
TEST(T5Bucket, EquationAgreesInDouble) {
  for (const T5Buckets b : {T5Buckets{}, T5Buckets{.bidirectional = false}, T5Buckets{true, 8, 16}})
    for (std::int64_t relative = -3000; relative <= 3000; ++relative) {
      std::vector<double> number(32);
      for (std::size_t n = 0; n < 32; ++n) number[n] = static_cast<double>(n);
      EXPECT_EQ(t5_bucket_score(0.0, number.data(), 1, 0, b, relative),
                static_cast<double>(t5_bucket(b, relative)))
          << relative;
    }
}

TEST(T5Bucket, ACachedStepReadsTheLastRow) {
  AttentionOptions whole, step;
  whole.heads = step.heads = 1;
  const T5Bucket t5{{.bidirectional = false}, testing::sine({32, 1}, 0)};
  add_t5_bucket(t5, 40, 40, 0, whole);
  add_t5_bucket(t5, 1, 40, 39, step);
  const auto all = testing::rows_by_map(*testing::gather_of(whole.terms[0]).map),
             last = testing::rows_by_map(*testing::gather_of(step.terms[0]).map);
  EXPECT_EQ(std::vector<std::int64_t>(all.end() - 40, all.end()), last);
  EXPECT_EQ(step.visibility.causal_offset, 39);
}

TEST(T5Bucket, RefusesWhatDoesNotFit) {
  AttentionOptions options;
  options.heads = 2;
  const Var table = testing::sine({32, 2}, 0);
  const auto add = [&](const T5Buckets& b, const Var& t, std::int64_t Nq = 4, std::int64_t Nk = 4,
                       std::int64_t past = 0) {
    add_t5_bucket({b, t}, Nq, Nk, past, options);
  };
  EXPECT_NO_THROW(add({}, table));
  EXPECT_THROW(add({}, testing::sine({31, 2}, 0)), Error);
  EXPECT_THROW(add({}, testing::sine({2, 32}, 0)), Error);
  EXPECT_THROW(add({}, Var()), Error);
  EXPECT_THROW(add({true, 31, 128}, testing::sine({31, 2}, 0)), Error);
  EXPECT_THROW(add({true, 2, 128}, testing::sine({2, 2}, 0)), Error);
  EXPECT_THROW(add({true, -32, 128}, table), Error);
  EXPECT_THROW(add({true, 32, 8}, table), Error);
  EXPECT_THROW(add({}, table, 0), Error);
  EXPECT_THROW(add({}, table, 4, -1), Error);
  EXPECT_THROW(add({}, table, 4, 4, -1), Error);
}

}  // namespace t5_bucket_test
}  // namespace locant
