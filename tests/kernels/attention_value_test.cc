#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_terms.h"

namespace locant::testing {
namespace attention_value_test {

AttentionCase::Term value_of(AttentionCase::Term codes, std::int64_t H, std::int64_t Dv,
                             bool shared = false) {
  return band_of(std::move(codes), Side::query, H, Dv, shared);
}

TEST(AttentionValue, LinesOfEverySize) {
  for (const std::int64_t Nq : {1, 2, 5, 6, 7, 96, 97})
    for (const std::int64_t Nk : {1, 2, 15, 16, 17, 64, 65, 130}) {
      AttentionCase c{.H = 2, .Nq = Nq, .Nk = Nk, .D = 3, .Dv = 5};
      c.value = {value_of(line_codes(Nq, Nk), 2, 5)};
      c.cancels = Nk <= 2;
      check_attention(c, fmt::format("{} x {}", Nq, Nk));
    }
}

// Few vectors: probabilities are summed up per vector.
TEST(AttentionValue, Buckets) {
  for (const bool shared : {false, true})
    for (const std::int64_t rows : {1, 2, 9, 15, 16, 33, 60}) {
      AttentionCase c{.B = 2, .H = 2, .Nq = 50, .Nk = 133, .D = 8, .Dv = 7};
      c.value = {value_of(clipped(line_codes(50, 133), rows, 0), 2, 7, shared)};
      check_attention(c, fmt::format("{} vectors", rows));
      c.value = {value_of(clipped(line_codes(50, 133), rows, 4), 2, 7, shared)};
      check_attention(c, fmt::format("{} vectors, some read none", rows));
    }
}

TEST(AttentionValue, MapsOfManyVectors) {
  for (const bool shared : {false, true}) {
    AttentionCase c{.H = 2, .Nq = 30, .Nk = 40, .D = 8, .Dv = 8};
    c.value = {value_of(clipped(line_codes(30, 40), 35, 3), 2, 8, shared)};
    check_attention(c, "more vectors than pay");
  }
}

TEST(AttentionValue, SeveralBlocks) {
  for (const std::int64_t rows : {0, 33}) {
    AttentionCase c{.H = 2, .Nq = 200, .Nk = 1100, .D = 8, .Dv = 16};
    c.spread = 3.0f;  // the rows' tops grow from block to block
    AttentionCase::Term codes = line_codes(200, 1100);
    c.value = {value_of(rows > 0 ? clipped(codes, rows, 0) : codes, 2, 16)};
    check_attention(c, fmt::format("{} vectors", rows));
  }
}

TEST(AttentionValue, GridsAndWidths) {
  for (const std::int64_t Dv : {1, 4, 33, 256})
    for (const bool few : {false, true}) {
      AttentionCase c{.H = 2, .Nq = 4 * 9, .Nk = 5 * 9, .D = 6, .Dv = Dv};
      const AttentionCase::Term codes = grid_codes(4, 5, 9);
      c.value = {value_of(few ? clipped(codes, 20, 5) : codes, 2, Dv)};
      check_attention(c, fmt::format("Dv {}", Dv));
    }
}

TEST(AttentionValue, WindowsWithPadsAndSharedKeys) {
  for (const bool few : {false, true}) {
    AttentionCase c{.B = 2, .G = 6, .H = 2, .Nq = 49, .Nk = 49, .D = 8, .Dv = 8, .joint = true};
    c.rows = 13 * 20;
    c.query_rows = c.key_rows = window_rows(13, 20, 7, 2);
    c.pads = true;
    const AttentionCase::Term codes = grid_codes(7, 7, 7);
    c.value = {value_of(few ? clipped(codes, 13, 0) : codes, 2, 8)};
    check_attention(c, "windows");
    c.pads = false;
    check_attention(c, "windows, masked pads");
    c = {.B = 2, .G = 3, .H = 2, .Nq = 30, .Nk = 80, .D = 8, .Dv = 8};
    for (int x = 0; x < 3 * 80; ++x) c.key_rows.push_back(x / 3);
    c.key_lengths = {80, 41};
    c.value = {value_of(few ? clipped(line_codes(30, 80), 13, 0) : line_codes(30, 80), 2, 8)};
    check_attention(c, "shared keys");
  }
}

TEST(AttentionValue, BesideBandsOfBothSides) {
  AttentionCase c{.H = 2, .Nq = 70, .Nk = 70, .D = 8, .Dv = 12};
  c.terms = {band_of(line_codes(70, 70), Side::query, 2, 8), band_of(line_codes(70, 70), Side::key, 2, 8),
             dense_term(0, 0, 0, 70, 4900)};
  c.value = {value_of(line_codes(70, 70), 2, 12)};
  check_attention(c, "Shaw and more");
  c.value = {value_of(clipped(line_codes(70, 70), 9, 0), 2, 12)};
  c.value[0].wanted = false;
  check_attention(c, "gradient unwanted");
}

TEST(AttentionValue, EqualBits) {
  for (const std::int64_t rows : {0, 33}) {
    AttentionCase c{.B = 2, .H = 3, .Nq = 130, .Nk = 300, .D = 16, .Dv = 16};
    const AttentionCase::Term codes = line_codes(130, 300);
    c.value = {value_of(rows > 0 ? clipped(codes, rows, 0) : codes, 3, 16, true)};
    check_threads(c, fmt::format("{} vectors", rows));
  }
}

}  // namespace attention_value_test
}  // namespace locant::testing
