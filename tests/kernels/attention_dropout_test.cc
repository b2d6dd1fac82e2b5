#include "kernels/attention_dropout.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_terms.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_dropout_test {

TEST(AttentionDropout, OddSizes) {
  for (const float p : {0.1f, 0.5f, 0.9f})
    for (const auto& [Nq, Nk] : {std::pair{1, 1}, {2, 2}, {5, 15}, {95, 16}, {96, 17}, {97, 63}, {30, 65}}) {
      AttentionCase c{.B = 2, .H = 3, .Nq = Nq, .Nk = Nk, .D = 4, .Dv = 6, .dropout = {p, 7}};
      c.cancels = Nk == 1;
      check_attention(c, fmt::format("{} x {} p {}", Nq, Nk, p));
    }
}

TEST(AttentionDropout, SeveralKeyBlocksWithTermsAndMasks) {
  AttentionCase c{
      .B = 1, .G = 2, .H = 2, .Nq = 110, .Nk = 1300, .D = 8, .Dv = 8, .dropout = {0.3f, 1ULL << 40}};
  check_attention(c, "plain");
  c.terms = {dense_term(0, 0, 0, 1300, 110 * 1300), axis_term({1, 26, 50}, c)};
  check_attention(c, "two terms");
  c.causal = true;
  c.causal_offset = 700;
  c.causal_span = 600;
  check_attention(c, "causal");
}

TEST(AttentionDropout, WindowsWithPads) {
  AttentionCase c{.B = 2, .G = 4, .H = 2, .Nq = 36, .Nk = 36, .D = 8, .Dv = 8, .dropout = {0.25f, 3}};
  c.rows = 9 * 11;
  c.query_rows = c.key_rows = window_rows(9, 11, 6, 0);
  c.terms = {window_term(6, 2)};
  check_attention(c, "masked padding");
  c.pads = true;
  check_attention(c, "padding as keys");
}

// Constant values and one head: a row's output is the weight that was kept, on average 1; another seed keeps
// others.
TEST(AttentionDropout, KeepsTheMeanAndDependsOnTheSeed) {
  const KeepSettings keep;
  constexpr std::int64_t kRows = 200, kKeys = 300;
  const AttentionRun run({.H = 1, .Nq = kRows, .Nk = kKeys, .D = 4, .Dv = 1});
  const std::vector<float> ones(kKeys, 1.0f);
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    std::vector<float> first(kRows), again(kRows), other(kRows);
    AttentionArgs a = run.args();
    a.v = {ones.data(), kKeys, 1, 1};
    for (const auto& [seed, out] : {std::pair{1, &first}, {1, &again}, {2, &other}}) {
      a.out = {out->data(), kRows, 1, 1};
      a.dropout = {0.4f, static_cast<std::uint64_t>(seed)};
      attention_forward(a);
    }
    EXPECT_EQ(first, again) << isa_name(isa);
    EXPECT_NE(first, other) << isa_name(isa);
    double mean = 0;
    for (const float x : first) mean += x / static_cast<double>(kRows);
    EXPECT_NEAR(mean, 1.0, 0.02) << isa_name(isa);
  }
}

TEST(AttentionDropout, SameBitsOnAnyThreads) {
  check_threads({.H = 3, .Nq = 150, .Nk = 220, .D = 16, .Dv = 16, .dropout = {0.2f, 11}}, "dropout");
}

}  // namespace attention_dropout_test
}  // namespace locant::testing
