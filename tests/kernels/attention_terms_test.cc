#include "tests/kernels/attention_terms.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_terms_test {

// A table over j - i, the 1-D relative bias.
AttentionCase::Term line_term(std::int64_t Nq, std::int64_t Nk, std::int64_t H) {
  AttentionCase::Term term;
  GatherTerm gather;
  gather.offset.offsets = gather.offset.table_rows = Nq + Nk - 1;
  gather.row_stride = 1;
  gather.head_stride = gather.offset.table_rows;
  gather.offset.origin = static_cast<std::int32_t>(Nk - 1);
  for (std::int64_t i = 0; i < Nq; ++i) term.query_code.push_back(static_cast<std::int32_t>(i));
  for (std::int64_t j = 0; j < Nk; ++j) term.key_code.push_back(static_cast<std::int32_t>(j));
  term.term = gather;
  term.size = gather.offset.table_rows * H;
  return term;
}

// BEiT's: a grid, and a first token with three entries of its own (to it, from it, with itself). With `far`
// the largest displacement of the grid, differences query - key are -far..far in the grid, far+1..2far+1 from
// the token, 2far+2..3far+2 to it and 4far+3 with itself.
AttentionCase::Term grid_with_token_term(int side, std::int64_t H) {
  AttentionCase::Term term = window_term(side, H);
  auto& gather = std::get<GatherTerm>(term.term);
  const std::int32_t far = gather.offset.origin;
  term.query_code.insert(term.query_code.begin(), 2 * far + 1);
  term.key_code.insert(term.key_code.begin(), -2 * far - 2);
  const std::int32_t grid = 2 * far + 1;
  gather.offset.offsets = 5 * far + 4;
  gather.offset.table_rows = grid + 3;
  term.size = gather.offset.table_rows * H;
  for (std::int32_t offset = 0; offset < gather.offset.offsets; ++offset)
    term.map.push_back(offset < grid                 ? offset
                       : offset < grid + far + 1     ? grid
                       : offset < grid + 2 * far + 2 ? grid + 1
                                                     : grid + 2);
  return term;
}

// With few groups and small heads the bias is too large to be made ready, and is read from the table each
// time.
TEST(AttentionTerms, GatherReadFromTheTable) {
  AttentionCase c{.H = 3, .Nq = 100, .Nk = 100, .D = 8, .Dv = 8, .terms = {window_term(10, 3)}};
  check_attention(c, "grid");
  c = {.H = 2, .Nq = 70, .Nk = 700, .D = 8, .Dv = 8, .terms = {line_term(70, 700, 2)}};
  check_attention(c, "line");
}

TEST(AttentionTerms, GatherMadeReady) {
  AttentionCase c{.B = 3, .G = 2, .H = 3, .Nq = 49, .Nk = 49, .D = 8, .Dv = 8, .terms = {window_term(7, 3)}};
  check_attention(c, "window");
  c.terms = {line_term(49, 49, 3)};
  check_attention(c, "line");
}

TEST(AttentionTerms, GatherThroughAMapWithSpecialTokens) {
  for (const std::int64_t B : {1, 9}) {  // from the table; made ready
    const AttentionCase c{
        .B = B, .H = 2, .Nq = 26, .Nk = 26, .D = 4, .Dv = 4, .terms = {grid_with_token_term(5, 2)}};
    check_attention(c, "grid with token, batch " + std::to_string(B));
    AttentionCase holes = c;  // the displacements of a diagonal add nothing
    for (std::size_t x = 0; x < 81; x += 10) holes.terms[0].map[x] = -1;
    check_attention(holes, "map with negative entries, batch " + std::to_string(B));
  }
}

TEST(AttentionTerms, GatherWithoutAnyOrder) {
  for (const std::int64_t B : {1, 16}) {
    AttentionCase c{.B = B, .H = 2, .Nq = 40, .Nk = 40, .D = 4, .Dv = 4, .terms = {line_term(40, 40, 2)}};
    for (std::size_t j = 0; j < 40; ++j) c.terms[0].key_code[j] = static_cast<std::int32_t>(j * 17 % 40);
    for (std::size_t i = 0; i < 40; ++i) c.terms[0].query_code[i] = static_cast<std::int32_t>(i / 2);
    check_attention(c, "shuffled codes, batch " + std::to_string(B));
  }
}

TEST(AttentionTerms, HeadsMayShareATable) {
  for (const std::int64_t B : {1, 9}) {
    AttentionCase c{.B = B, .H = 4, .Nq = 25, .Nk = 25, .D = 4, .Dv = 4, .terms = {window_term(5, 1)}};
    std::get<GatherTerm>(c.terms[0].term).head_stride = 0;
    check_attention(c, "one table for four heads, batch " + std::to_string(B));
  }
}

TEST(AttentionTerms, DenseWithEveryStride) {
  constexpr std::int64_t B = 2, G = 3, H = 2, Nq = 10, Nk = 21;
  for (int shared = 0; shared < 16; ++shared) {
    std::int64_t size = Nk;
    const auto axis = [&](int bit, std::int64_t extent) {
      if (shared >> bit & 1) return std::int64_t{0};
      const std::int64_t stride = size;
      size *= extent;
      return stride;
    };
    const std::int64_t row = axis(0, Nq), head = axis(1, H), group = axis(2, G), batch = axis(3, B);
    // Wide heads: the bias may be made ready where groups share it. Narrow ones: it never is.
    for (const std::int64_t D : {1, 40}) {
      const AttentionCase c{.B = B,
                            .G = G,
                            .H = H,
                            .Nq = Nq,
                            .Nk = Nk,
                            .D = D,
                            .Dv = D,
                            .terms = {dense_term(batch, group, head, row, size)}};
      check_attention(c, fmt::format("shared axes {:04b}, D {}", shared, D));
    }
  }
}

TEST(AttentionTerms, DenseOverSeveralBlocks) {
  AttentionCase c{
      .H = 2, .Nq = 130, .Nk = 600, .D = 8, .Dv = 8, .terms = {dense_term(0, 0, 0, 600, 130 * 600)}};
  check_attention(c, "shared by heads");
  c.terms = {dense_term(0, 0, 130 * 600, 600, 2 * 130 * 600)};
  check_attention(c, "of its own for each head");
}

TEST(AttentionTerms, DenseMayMaskByMinusInfinity) {
  const KeepSettings keep;
  AttentionCase c{.H = 1, .Nq = 4, .Nk = 20, .D = 4, .Dv = 4};
  const AttentionRun run(c);
  AttentionArgs a = run.args();
  std::vector<float> bias(4 * 20, 0.0f), out(80), lse(4), shorter(80);
  for (std::size_t i = 0; i < 4; ++i)
    for (std::size_t j = i == 2 ? 0 : 11; j < 20; ++j)
      bias[i * 20 + j] = -std::numeric_limits<float>::infinity();
  DenseTerm dense;
  dense.bias = bias.data();
  dense.row_stride = 20;
  const std::vector<ScoreTerm> terms = {{dense, nullptr}};
  const std::vector<std::int64_t> lengths = {11};
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    a.out.data = out.data();
    a.lse = lse.data();
    a.terms = terms;
    attention_forward(a);
    EXPECT_EQ(lse[2], std::numeric_limits<float>::infinity()) << isa_name(isa);
    for (std::size_t d = 0; d < 4; ++d) EXPECT_EQ(out[2 * 4 + d], 0.0f) << isa_name(isa);
    AttentionArgs b = run.args();
    b.out.data = shorter.data();
    b.mask.key_lengths = lengths.data();
    attention_forward(b);
    for (const std::size_t i : {0, 1, 3})
      for (std::size_t d = 0; d < 4; ++d)
        EXPECT_NEAR(out[i * 4 + d], shorter[i * 4 + d], 1e-6) << isa_name(isa);
  }
}

TEST(AttentionTerms, FourAtOnceWithHeadScales) {
  for (const std::int64_t D : {2, 64}) {  // read each time; made ready
    constexpr std::int64_t N = 36, H = 3;
    AttentionCase c{.B = 2, .G = 2, .H = H, .Nq = N, .Nk = N, .D = D, .Dv = D};
    c.terms = {window_term(6, H), dense_term(0, 0, 0, N, N * N),
               dense_term(H * N * N, 0, N * N, N, 2 * H * N * N), line_term(N, N, H)};
    check_attention(c, "four terms, D " + std::to_string(D));
    for (std::size_t t = 0; t < 4; ++t) c.terms[t].head_scale = {0.5f, -1.0f, 1.0f + static_cast<float>(t)};
    check_attention(c, "four scaled terms, D " + std::to_string(D));
  }
}

TEST(AttentionTerms, UnwantedGradientsAreNotWritten) {
  for (const std::int64_t D : {2, 64}) {
    AttentionCase c{.B = 2, .H = 2, .Nq = 25, .Nk = 25, .D = D, .Dv = D};
    c.terms = {window_term(5, 2), dense_term(0, 0, 625, 25, 1250), dense_term(1250, 0, 625, 25, 2500)};
    c.terms[0].wanted = false;
    check_attention(c, "first unwanted");
    c.terms[1].wanted = c.terms[2].wanted = false;
    check_attention(c, "none wanted");
  }
}

// sum_j dS_ij = 0, so a table's gradient sums to nothing.
TEST(AttentionTerms, TableGradientsSumToZero) {
  const KeepSettings keep;
  const AttentionRun run(
      {.B = 4, .H = 2, .Nq = 49, .Nk = 49, .D = 32, .Dv = 32, .terms = {window_term(7, 2)}});
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    double sum = 0, size = 0;
    const AttentionResults<float> results = run.by_kernel();
    for (const float x : results.dtables[0]) sum += x + 0.25, size += std::abs(x + 0.25);
    EXPECT_LT(std::abs(sum), 1e-5 * size) << isa_name(isa);
  }
}

}  // namespace attention_terms_test
}  // namespace locant::testing
