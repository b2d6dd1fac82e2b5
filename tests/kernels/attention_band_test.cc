#include <fmt/format.h>
#include <gtest/gtest.h>

#include "core/pool.h"
#include "tests/kernels/attention_terms.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_band_test {

constexpr Side kSides[] = {Side::query, Side::key};

std::string name_of(Side side) { return side == Side::query ? "query side" : "key side"; }

TEST(AttentionBand, LinesOfEverySize) {
  for (const Side side : kSides)
    for (const std::int64_t Nq : {1, 2, 5, 6, 7, 95, 96, 97})
      for (const std::int64_t Nk : {1, 2, 15, 16, 17, 63, 64, 65, 130}) {
        AttentionCase c{.H = 2, .Nq = Nq, .Nk = Nk, .D = 5, .Dv = 3};
        c.terms = {band_of(line_codes(Nq, Nk), side, 2, 5)};
        c.cancels = Nk <= 2;
        check_attention(c, fmt::format("{}, {} x {}", name_of(side), Nq, Nk));
      }
}

TEST(AttentionBand, WidthsAreFree) {
  for (const Side side : kSides)
    for (const std::int64_t D : {1, 4, 16, 33, 64, 256}) {
      AttentionCase c{.H = 2, .Nq = 20, .Nk = 37, .D = D, .Dv = D == 1 ? 7 : 1};
      c.terms = {band_of(line_codes(20, 37, 3), side, 2, D)};
      check_attention(c, fmt::format("{}, D {}", name_of(side), D));
    }
}

TEST(AttentionBand, SeveralBlocksOfKeysAndQueries) {
  for (const Side side : kSides) {
    AttentionCase c{.H = 1, .Nq = 210, .Nk = 1100, .D = 8, .Dv = 8};
    c.terms = {band_of(line_codes(210, 1100), side, 1, 8)};
    check_attention(c, name_of(side) + " long line");
    c = {.H = 2, .Nq = 450, .Nk = 150, .D = 8, .Dv = 8};
    c.terms = {band_of(line_codes(450, 150, 7), side, 2, 8)};
    check_attention(c, name_of(side) + " more queries than keys");
  }
}

TEST(AttentionBand, Grids) {
  struct Grid {
    std::int64_t query_rows, key_rows, columns;
  };
  for (const Side side : kSides)
    for (const Grid& grid : {Grid{7, 7, 7}, {3, 9, 5}, {9, 2, 14}, {4, 5, 20}, {5, 4, 32}, {4, 5, 33}}) {
      const std::int64_t Nq = grid.query_rows * grid.columns, Nk = grid.key_rows * grid.columns;
      AttentionCase c{.H = 2, .Nq = Nq, .Nk = Nk, .D = 8, .Dv = 8};
      c.terms = {band_of(grid_codes(grid.query_rows, grid.key_rows, grid.columns), side, 2, 8)};
      check_attention(c, fmt::format("{}, {} and {} rows of {}", name_of(side), grid.query_rows,
                                     grid.key_rows, grid.columns));
    }
}

// Products of pairs that a causal mask hides are left out; slots and codes need not run together.
TEST(AttentionBand, CausalMasks) {
  for (const Side side : kSides)
    for (const std::int64_t offset : {-9, 0, 83})
      for (const std::int64_t span : {0, 31}) {
        AttentionCase c{.H = 2, .Nq = 210, .Nk = 300, .D = 8, .Dv = 8};
        c.causal = true;
        c.causal_offset = offset, c.causal_span = span;
        c.terms = {band_of(line_codes(210, 300), side, 2, 8)};
        c.value = {band_of(line_codes(210, 300), Side::query, 2, 8)};
        check_attention(c, fmt::format("{}, offset {}, span {}, line", name_of(side), offset, span));
        c.terms = {band_of(grid_codes(14, 20, 15), side, 2, 8)};
        check_attention(c, fmt::format("{}, offset {}, span {}, grids", name_of(side), offset, span));
      }
}

// Codes may descend, leap, repeat and lie in any order; a first token has offsets of its own, far away.
TEST(AttentionBand, CodesInAnyOrder) {
  constexpr std::int64_t N = 70;
  for (const Side side : kSides) {
    AttentionCase c{.H = 1, .Nq = N, .Nk = N, .D = 4, .Dv = 4};
    const auto check = [&](const std::string& name, auto query_code, auto key_code) {
      AttentionCase::Term term = line_codes(N, N);
      for (std::int32_t x = 0; x < N; ++x) {
        term.query_code[static_cast<std::size_t>(x)] = query_code(x);
        term.key_code[static_cast<std::size_t>(x)] = key_code(x);
      }
      OffsetView& offset = std::get<BandTerm>(term.term).offset;
      offset.origin = 6000;
      offset.offsets = offset.table_rows = 12000;
      c.terms = {band_of(term, side, 1, 4)};
      check_attention(c, name_of(side) + " " + name);
    };
    const auto up = [](std::int32_t x) { return x; };
    check(
        "descending", [](std::int32_t x) { return -x; }, [](std::int32_t x) { return -x; });
    check(
        "queries descending", [](std::int32_t x) { return -x; }, up);
    check("keys of every third", up, [](std::int32_t x) { return 3 * x; });
    check(
        "queries of every other", [](std::int32_t x) { return 2 * x; }, up);
    check(
        "leaps", [](std::int32_t x) { return x + x / 8 * 40; },
        [](std::int32_t x) { return x + x / 11 * 13; });
    check(
        "shuffled", [](std::int32_t x) { return x * 17 % 70; }, [](std::int32_t x) { return x * 13 % 70; });
    check(
        "all equal", [](std::int32_t) { return 3; }, [](std::int32_t x) { return x / 2; });
    check(
        "first token", [](std::int32_t x) { return x == 0 ? 3000 : x; },
        [](std::int32_t x) { return x == 0 ? -2500 : x; });
  }
}

TEST(AttentionBand, MapsClipAndLeaveOut) {
  for (const Side side : kSides)
    for (const bool shared : {false, true}) {
      AttentionCase c{.B = 2, .H = 3, .Nq = 40, .Nk = 75, .D = 8, .Dv = 8};
      c.terms = {band_of(clipped(line_codes(40, 75), 9, 0), side, 3, 8, shared)};
      check_attention(c, name_of(side) + " clipped");
      c.terms = {band_of(clipped(line_codes(40, 75), 21, 3), side, 3, 8, shared)};
      check_attention(c, name_of(side) + " with holes");
      c.terms = {band_of(line_codes(40, 75), side, 3, 8, shared)};
      check_attention(c, name_of(side) + " plain");
    }
}

TEST(AttentionBand, SeveralAtOnceWithHeadScales) {
  constexpr std::int64_t N = 60, H = 3, D = 6;
  AttentionCase c{.B = 2, .H = H, .Nq = N, .Nk = N, .D = D, .Dv = 4};
  c.terms = {band_of(line_codes(N, N), Side::query, H, D), band_of(line_codes(N, N), Side::key, H, D, true),
             band_of(grid_codes(6, 6, 10), Side::query, H, D, true), window_term(8, H)};
  c.terms[3] = dense_term(0, 0, N * N, N, H * N * N);
  check_attention(c, "four terms");
  for (std::size_t t = 0; t < 3; ++t) {
    c.terms[t].head_scale = {0.5f, 0.0f, 1.0f - static_cast<float>(t)};
    c.terms[t].head_scale_wanted = true;
  }
  check_attention(c, "four terms, scaled");
  c.terms[0].wanted = c.terms[1].wanted = false;
  c.terms[1].head_scale_wanted = c.terms[2].head_scale_wanted = false;
  check_attention(c, "some gradients unwanted");
}

// A key-side band reads nothing for a slot without a row, though the slot may be a key.
TEST(AttentionBand, WindowsWithPaddingSlots) {
  for (const bool pads : {false, true})
    for (const Side side : kSides) {
      AttentionCase c{.B = 2, .G = 6, .H = 2, .Nq = 49, .Nk = 49, .D = 8, .Dv = 8, .joint = true};
      c.rows = 13 * 20;
      c.query_rows = c.key_rows = window_rows(13, 20, 7, 2);
      c.pads = pads;
      c.terms = {band_of(grid_codes(7, 7, 7), side, 2, 8)};
      check_attention(c, name_of(side) + (pads ? " pads are keys" : " pads are masked"));
    }
}

TEST(AttentionBand, SharedKeyRowsLengthsAndRegions) {
  for (const Side side : kSides) {
    AttentionCase c{.B = 2, .G = 3, .H = 2, .Nq = 30, .Nk = 80, .D = 8, .Dv = 8};
    for (int x = 0; x < 3 * 80; ++x) c.key_rows.push_back(x % 9 == 0 ? -1 : x / 3);
    c.pads = true;
    c.terms = {band_of(line_codes(30, 80), side, 2, 8)};
    check_attention(c, name_of(side) + " shared keys");
    c.key_rows.clear();
    c.pads = false;
    c.key_lengths = {33, 0};
    for (int x = 0; x < 3 * 30; ++x) c.query_region.push_back(x % 3);
    for (int x = 0; x < 3 * 80; ++x) c.key_region.push_back(x / 7 % 4);
    check_attention(c, name_of(side) + " lengths and regions");
  }
}

// Beside numbers of each query the backward takes as many keys at once as it ever does, and of keys whose
// codes are far apart each walks alone.
TEST(AttentionBand, KeysFarApartBesideNumbersOfQueries) {
  constexpr std::int64_t Nq = 7, H = 8;
  for (const std::int64_t Nk : {257, 512}) {
    AttentionCase c{.H = H, .Nq = Nq, .Nk = Nk, .D = 4, .Dv = 4};
    AttentionCase::Term numbers = clipped(line_codes(Nq, Nk), 31, 0);
    BucketTerm bucket;
    bucket.offset = std::get<BandTerm>(numbers.term).offset;
    bucket.head_stride = 31;
    bucket.row_stride = H * bucket.head_stride;
    numbers.size = c.token_rows() * bucket.row_stride;
    numbers.term = bucket;
    AttentionCase::Term far = line_codes(Nq, Nk);
    for (std::int32_t& code : far.key_code) code *= 8;
    OffsetView& offset = std::get<BandTerm>(far.term).offset;
    offset.origin = static_cast<std::int32_t>(8 * (Nk - 1));
    offset.offsets = offset.table_rows = offset.origin + Nq;
    c.terms = {numbers, band_of(far, Side::key, H, 4)};
    check_attention(c, fmt::format("buckets, {} keys", Nk));
    c.terms[0] = axis_term({1, 1, Nk}, c);
    check_attention(c, fmt::format("an axis, {} keys", Nk));
  }
}

TEST(AttentionBand, EqualBitsAndSharesOfHeads) {
  AttentionCase c{.B = 2, .H = 5, .Nq = 130, .Nk = 200, .D = 16, .Dv = 16};
  c.terms = {band_of(line_codes(130, 200), Side::query, 5, 16),
             band_of(line_codes(130, 200), Side::key, 5, 16, true)};
  check_threads(c, "both sides");
}

TEST(AttentionBand, MemoryGrowsWithTheRowsOnly) {
  const KeepSettings keep;
  constexpr std::int64_t N = 3000, D = 16;
  AttentionCase c{.Nq = N, .Nk = N, .D = D, .Dv = D};
  c.terms = {band_of(line_codes(N, N), Side::query, 1, D), band_of(line_codes(N, N), Side::key, 1, D)};
  c.value = {band_of(line_codes(N, N), Side::query, 1, D)};
  c.factor = {factor_of(line_codes(N, N), 1)};
  const AttentionRun run(c);
  for (const Isa isa : testing::tested_isas()) {
    if (isa == Isa::reference) continue;
    set_active_isa(isa);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      Pool::global().reset_peak();
      const std::int64_t before = Pool::global().stats().peak_bytes;
      (void)run.by_kernel();
      const std::int64_t floats = (Pool::global().stats().peak_bytes - before) / 4;
      EXPECT_LT(floats, 40 * N * (D + D)) << isa_name(isa) << " threads " << threads;
    }
  }
}

}  // namespace attention_band_test
}  // namespace locant::testing
