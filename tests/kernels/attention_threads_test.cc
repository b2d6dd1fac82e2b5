#include <gtest/gtest.h>

#include "core/pool.h"
#include "kernels/attention_plan.h"
#include "tests/kernels/attention_terms.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_threads_test {

TEST(AttentionThreads, Windows) {
  AttentionCase c{.B = 2, .G = 6, .H = 3, .Nq = 49, .Nk = 49, .D = 16, .Dv = 16, .joint = true};
  c.rows = 13 * 20;
  c.query_rows = c.key_rows = window_rows(13, 20, 7, 0);
  c.pads = true;
  c.terms = {window_term(7, 3)};
  check_threads(c, "padded windows");
}

// A head's tiles go to several threads, its dq is a sum of parts, and a shared table is read from every one.
TEST(AttentionThreads, OneLongHead) {
  AttentionCase c{.Nq = 250, .Nk = 300, .D = 16, .Dv = 24};
  c.terms = {dense_term(0, 0, 0, 300, 250 * 300)};
  check_threads(c, "one head");
}

TEST(AttentionThreads, HeadsAcrossThreadBorders) {
  AttentionCase c{
      .H = 3, .Nq = 150, .Nk = 200, .D = 16, .Dv = 16, .terms = {dense_term(0, 0, 0, 200, 150 * 200)}};
  c.key_rows.resize(200);
  for (std::size_t j = 0; j < 200; ++j) c.key_rows[j] = j % 31 == 0 ? -1 : static_cast<std::int32_t>(j);
  c.pads = true;
  check_threads(c, "three heads");
}

TEST(AttentionThreads, SharedKeysAndTables) {
  AttentionCase c{
      .B = 2, .G = 4, .H = 2, .Nq = 64, .Nk = 64, .D = 32, .Dv = 32, .terms = {window_term(8, 2)}};
  for (int x = 0; x < 4 * 64; ++x) c.key_rows.push_back(x / 3);
  check_threads(c, "shared keys");
}

// However few the heads, every thread gets several tiles.
TEST(AttentionThreads, OneHeadFeedsEveryThread) {
  const KeepSettings keep;
  const AttentionRun run({.Nq = 2000, .Nk = 2000});
  AttentionGradArgs grads;
  grads.forward = run.args();
  for (const int threads : {1, 2, 8, 16}) {
    set_num_threads(threads);
    const fused::Plan forward = fused::plan_forward(grads.forward, {16, 4});
    EXPECT_EQ(forward.chunks, threads);
    EXPECT_GE(forward.query_blocks, 4 * threads);
    EXPECT_GE(forward.query_block * forward.query_blocks, 2000);
    const fused::BackwardPlan backward = fused::plan_backward(grads, {8, 2});
    EXPECT_EQ(backward.chunks, threads);
    EXPECT_GE(backward.key_blocks, 4 * threads);
    EXPECT_EQ(backward.chunk_begin(backward.chunks), backward.items());
  }
}

// Neither pass asks for anything like N x N floats, with terms and masks or without.
TEST(AttentionThreads, MemoryGrowsWithTheRowsOnly) {
  const KeepSettings keep;
  constexpr std::int64_t kTokens = 48 * 48;
  AttentionCase c{.Nq = kTokens, .Nk = kTokens, .D = 16, .Dv = 16};
  const AttentionRun plain(c);
  c.terms = {window_term(48, 1)};
  const AttentionRun biased(c);
  c.terms = {axis_term({1, 48, 48}, c), bucket_term(Side::query, 48, 48, 49, c),
             bucket_term(Side::key, 48, 48, 49, c)};
  c.causal = true;
  c.dropout = {0.1f, 1};
  const AttentionRun rows(c);
  for (const Isa isa : testing::tested_isas()) {
    if (isa == Isa::reference) continue;  // takes seconds, and has rows only
    set_active_isa(isa);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      for (const AttentionRun* run : {&plain, &biased, &rows}) {
        // Rows of numbers per token count as inputs do: a head that two threads share has its parts of them.
        const std::int64_t most =
            run == &rows ? 4 * kTokens * (16 + 16 + 2 * 48 + 2 * 49) : 16 * kTokens * (16 + 16);
        Pool::global().reset_peak();
        const std::int64_t before = Pool::global().stats().peak_bytes;
        (void)run->by_kernel();
        const std::int64_t floats = (Pool::global().stats().peak_bytes - before) / 4;
        EXPECT_GT(floats, 0);
        EXPECT_LT(floats, most) << isa_name(isa) << " threads " << threads;
      }
    }
  }
}

}  // namespace attention_threads_test
}  // namespace locant::testing
