#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_terms.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_factor_test {

TEST(AttentionFactor, LinesOfEverySize) {
  for (const std::int64_t Nq : {1, 2, 6, 7, 96, 97})
    for (const std::int64_t Nk : {1, 2, 15, 16, 17, 64, 65, 130}) {
      AttentionCase c{.H = 2, .Nq = Nq, .Nk = Nk, .D = 5, .Dv = 3};
      c.spread = 2.0f;
      c.factor = {factor_of(line_codes(Nq, Nk), 2)};
      c.cancels = Nk <= 2;
      check_attention(c, fmt::format("{} x {}", Nq, Nk));
    }
}

TEST(AttentionFactor, MapsGridsAndSharedNumbers) {
  for (const bool shared : {false, true}) {
    AttentionCase c{.B = 2, .H = 3, .Nq = 40, .Nk = 75, .D = 8, .Dv = 8};
    c.spread = 2.0f;
    c.factor = {factor_of(clipped(line_codes(40, 75), 9, 3), 3, shared)};
    check_attention(c, "clipped");
    c.factor = {factor_of(grid_codes(8, 15, 5), 3, shared)};
    check_attention(c, "grid");
    c.factor[0].wanted = false;
    check_attention(c, "unwanted");
  }
}

// The factor meets the products alone, before terms are added: where they are made ready, and where not.
TEST(AttentionFactor, BeforeEveryTerm) {
  for (const std::int64_t D : {2, 64}) {
    constexpr std::int64_t N = 36, H = 3;
    AttentionCase c{.B = 2, .G = 2, .H = H, .Nq = N, .Nk = N, .D = D, .Dv = D};
    c.terms = {window_term(6, H), dense_term(0, 0, 0, N, N * N), band_of(line_codes(N, N), Side::query, H, D),
               band_of(line_codes(N, N), Side::key, H, D)};
    c.factor = {factor_of(line_codes(N, N), H)};
    c.value = {band_of(line_codes(N, N), Side::query, H, D)};
    check_attention(c, fmt::format("D {}", D));
  }
}

// Masked slots hold -inf, which no factor may touch, least of all a negative one or zero.
TEST(AttentionFactor, MaskedSlotsStayMasked) {
  AttentionCase c{.B = 2, .G = 6, .H = 2, .Nq = 49, .Nk = 49, .D = 8, .Dv = 8, .joint = true};
  c.rows = 13 * 20;
  c.query_rows = c.key_rows = window_rows(13, 20, 7, 2);
  c.factor = {factor_of(grid_codes(7, 7, 7), 2)};
  check_attention(c, "masked pads");
  c.pads = true;
  check_attention(c, "pads as keys");
  c = {.B = 2, .H = 2, .Nq = 30, .Nk = 600, .D = 8, .Dv = 8};
  c.key_lengths = {33, 0};
  for (int x = 0; x < 30; ++x) c.query_region.push_back(x % 3);
  for (int x = 0; x < 600; ++x) c.key_region.push_back(x / 7 % 4);
  c.factor = {factor_of(line_codes(30, 600), 2)};
  check_attention(c, "lengths and regions");
}

TEST(AttentionFactor, ZeroFactorLeavesTheTerms) {
  const KeepSettings keep;
  AttentionCase c{.H = 1, .Nq = 20, .Nk = 33, .D = 4, .Dv = 4, .terms = {dense_term(0, 0, 0, 33, 660)}};
  const AttentionRun run(c);
  AttentionCase other = c;
  other.scale = 1e-30f;
  const AttentionRun without(other);
  const std::vector<float> zeros(52, 0.0f);
  const AttentionCase::Term codes = line_codes(20, 33);
  GatherTerm factor;
  factor.offset = std::get<BandTerm>(codes.term).offset;
  factor.offset.query_code = codes.query_code.data();
  factor.offset.key_code = codes.key_code.data();
  factor.table = zeros.data();
  factor.row_stride = 1;
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    std::vector<float> out(33 * 4), want(33 * 4);
    AttentionArgs a = run.args(), b = without.args();
    a.out.data = out.data(), b.out.data = want.data();
    a.factor = &factor;
    attention_forward(a);
    attention_forward(b);
    for (std::size_t x = 0; x < 20 * 4; ++x) EXPECT_NEAR(out[x], want[x], 1e-6) << isa_name(isa);
  }
}

TEST(AttentionFactor, EqualBits) {
  AttentionCase c{.B = 2, .H = 3, .Nq = 130, .Nk = 300, .D = 16, .Dv = 16};
  c.factor = {factor_of(line_codes(130, 300), 3, true)};
  check_threads(c, "shared numbers");
}

}  // namespace attention_factor_test
}  // namespace locant::testing
