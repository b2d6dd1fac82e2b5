#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_terms.h"
#include "tests/support/isas.h"

namespace locant::testing {
namespace attention_mask_test {

// Regions as a shifted window has them: what came round from the other edge is another region.
std::vector<std::int32_t> window_regions(int high, int wide, int side, int shift) {
  const auto band = [&](int at, int extent) { return at < extent - side ? 0 : at < extent - shift ? 1 : 2; };
  std::vector<std::int32_t> regions;
  const int across = (wide + side - 1) / side, down = (high + side - 1) / side;
  for (int w = 0; w < down * across; ++w)
    for (int x = 0; x < side * side; ++x)
      regions.push_back(band(w / across * side + x / side, down * side) * 3 +
                        band(w % across * side + x % side, across * side));
  return regions;
}

AttentionCase windows(int high, int wide, int side, int shift, std::int64_t H, std::int64_t D) {
  AttentionCase c{.B = 2, .H = H, .D = D, .Dv = D, .joint = true};
  c.G = (high + side - 1) / side * ((wide + side - 1) / side);
  c.Nq = c.Nk = side * side;
  c.rows = high * wide;
  c.query_rows = c.key_rows = window_rows(high, wide, side, shift);
  if (shift > 0) c.query_region = c.key_region = window_regions(high, wide, side, shift);
  return c;
}

TEST(AttentionMask, Windows) { check_attention(windows(14, 21, 7, 0, 3, 8), "windows"); }

TEST(AttentionMask, ShiftedWindowsWithBias) {
  AttentionCase c = windows(14, 14, 7, 3, 3, 32);
  c.terms = {window_term(7, 3)};
  check_attention(c, "swin");
  c = windows(12, 8, 4, 2, 2, 5);
  c.terms = {window_term(4, 2)};
  check_attention(c, "windows of 16");
}

TEST(AttentionMask, PaddingSlotsAreMasked) {
  AttentionCase c = windows(9, 10, 4, 0, 2, 8);
  check_attention(c, "padded windows");
  c.terms = {window_term(4, 2)};
  check_attention(c, "padded windows with bias");
  c = windows(9, 10, 4, 2, 2, 8);
  c.terms = {window_term(4, 2)};
  check_attention(c, "padded, shifted windows with bias");
}

TEST(AttentionMask, PaddingSlotsActAsKeys) {
  AttentionCase c = windows(9, 10, 4, 2, 2, 8);
  c.pads = true;
  check_attention(c, "pads");
  c.terms = {window_term(4, 2)};
  check_attention(c, "pads with bias");
}

TEST(AttentionMask, WindowsOfPaddingOnly) {
  AttentionCase c{.G = 3, .H = 2, .Nq = 5, .Nk = 70, .rows = 100};
  for (int x = 0; x < 3 * 5; ++x) c.query_rows.push_back(x / 5 == 1 ? -1 : x);
  for (int x = 0; x < 3 * 70; ++x) c.key_rows.push_back(x / 70 == 2 ? -1 : x % 70);
  check_attention(c, "masked");
  c.pads = true;
  check_attention(c, "as keys");
}

TEST(AttentionMask, FullyMaskedRowIsZeroWithInfiniteLogSumExp) {
  const KeepSettings keep;
  AttentionCase c{.H = 2, .Nq = 8, .Nk = 20, .D = 4, .Dv = 4};
  c.query_region.assign(8, 1);
  c.query_region[3] = 9;  // a region that no key has
  c.key_region.assign(20, 1);
  check_attention(c, "one row sees nothing");
  const AttentionRun run(c);
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    const AttentionResults<float> x = run.by_kernel();
    for (std::size_t h = 0; h < 2; ++h) {
      EXPECT_EQ(x.lse[h * 8 + 3], std::numeric_limits<float>::infinity()) << isa_name(isa);
      for (std::size_t d = 0; d < 4; ++d) {
        EXPECT_EQ(x.out[3 * 8 + h * 4 + d], 0.0f) << isa_name(isa);
        EXPECT_EQ(x.dq[3 * 8 + h * 4 + d], 0.0f) << isa_name(isa);
      }
    }
  }
}

// Of keys that are masked, the numbers must not matter at all.
TEST(AttentionMask, MaskedKeysAreNotRead) {
  const KeepSettings keep;
  AttentionCase c{.H = 1, .Nq = 8, .Nk = 40, .D = 4, .Dv = 4};
  c.key_lengths = {23};
  const AttentionRun run(c);
  AttentionArgs a = run.args();
  std::vector<float> k(a.k.data, a.k.data + 160), v(a.v.data, a.v.data + 160), out(160), again(160);
  for (const Isa isa : testing::tested_isas()) {
    set_active_isa(isa);
    a.k.data = run.args().k.data;
    a.v.data = run.args().v.data;
    a.out.data = out.data();
    attention_forward(a);
    std::fill(k.begin() + 23 * 4, k.end(), std::nanf(""));
    std::fill(v.begin() + 23 * 4, v.end(), std::nanf(""));
    a.k.data = k.data();
    a.v.data = v.data();
    a.out.data = again.data();
    attention_forward(a);
    EXPECT_EQ(out, again) << isa_name(isa);
  }
}

TEST(AttentionMask, KeyLengths) {
  AttentionCase c{.B = 2, .H = 2, .Nq = 30, .Nk = 150, .D = 8, .Dv = 8, .cancels = true};
  c.key_lengths = {1, 150};
  check_attention(c, "one key");
  c = {.B = 5, .H = 2, .Nq = 30, .Nk = 150, .D = 8, .Dv = 8};
  c.key_lengths = {0, 2, 64, 149, 1000};
  check_attention(c, "lengths");
  c.terms = {dense_term(0, 0, 0, 150, 30 * 150)};
  check_attention(c, "lengths with bias");
  c = windows(8, 8, 4, 2, 2, 8);
  c.key_lengths = {7, -3};
  c.terms = {window_term(4, 2)};
  check_attention(c, "lengths in windows");
}

TEST(AttentionMask, RegionsOverSeveralKeyBlocks) {
  AttentionCase c{.B = 2, .G = 2, .H = 2, .Nq = 40, .Nk = 700, .D = 8, .Dv = 8};
  for (int x = 0; x < 2 * 40; ++x) c.query_region.push_back(x % 3);
  for (int x = 0; x < 2 * 700; ++x) c.key_region.push_back(x / 350 % 3);
  check_attention(c, "regions");
}

// Sub-sampled keys: each group reads the same rows, so their gradients are sums over groups.
TEST(AttentionMask, GroupsShareKeys) {
  AttentionCase c{.B = 2, .G = 3, .H = 2, .Nq = 20, .Nk = 33, .D = 8, .Dv = 12, .rows = 70};
  for (int g = 0; g < 3; ++g)
    for (int j = 0; j < 33; ++j) c.key_rows.push_back(2 * j);
  check_attention(c, "shared by groups");
  for (int j = 0; j < 33; ++j) c.key_rows[static_cast<std::size_t>(33 + j)] = j % 5 == 0 ? -1 : j / 2;
  check_attention(c, "shared, with repeats and holes");
  c.pads = true;
  c.key_lengths = {30, 0};
  check_attention(c, "shared, with pads and lengths");
}

// Rows that no map reaches keep what they held; by_kernel() fills buffers with 0.5 and compares all of them.
TEST(AttentionMask, RowsOutsideTheMapsStay) {
  AttentionCase c{.B = 1, .H = 2, .Nq = 10, .Nk = 12, .rows = 40};
  for (int i = 0; i < 10; ++i) c.query_rows.push_back(3 * i + 1);
  for (int j = 0; j < 12; ++j) c.key_rows.push_back(39 - 3 * j);
  check_attention(c, "scattered");
}

// A score depends on the mask alone, so wrong borders show. Blocks that nobody sees, and queries that see
// nothing: at both ends.
TEST(AttentionMask, CausalWithOffsetsAndSpans) {
  for (const auto& [Nq, Nk] : {std::pair{1, 1}, {2, 3}, {63, 64}, {65, 65}, {101, 600}, {400, 101}})
    for (const std::int64_t offset : {0, -3, 40, -90, 400})
      for (const std::int64_t span : {0, 5, 130}) {
        AttentionCase c{.B = 2, .H = 2, .Nq = Nq, .Nk = Nk, .D = 3, .Dv = 4, .cancels = true};
        c.causal = true;
        c.causal_offset = offset;
        c.causal_span = span;
        if (Nq == 65) c.key_lengths = {50, 65};
        check_attention(c, fmt::format("{} x {} offset {} span {}", Nq, Nk, offset, span));
      }
}

TEST(AttentionMask, CausalWithTermsMapsAndPads) {
  for (const std::int64_t B : {1, 12}) {  // terms read each time; made ready
    AttentionCase c{.B = B, .G = 3, .H = 2, .Nq = 49, .Nk = 49, .D = 8, .Dv = 8};
    c.rows = 160;
    for (int x = 0; x < 3 * 49; ++x) c.query_rows.push_back(x % 11 == 3 ? -1 : 146 - x);
    for (int x = 0; x < 3 * 49; ++x) c.key_rows.push_back(x % 13 == 5 ? -1 : x / 2);
    c.causal = true;
    c.terms = {window_term(7, 2), axis_term({1, 7, 7}, c)};
    check_attention(c, "holes, batch " + std::to_string(B));
    c.pads = true;
    check_attention(c, "pads, batch " + std::to_string(B));
  }
}

// Boxes of side `side` around each query of a grid, pushed inside, or hanging over its edges.
std::vector<std::int32_t> boxes_of(int high, int wide, int side, bool inside) {
  std::vector<std::int32_t> boxes;
  for (int y = 0; y < high; ++y)
    for (int x = 0; x < wide; ++x) {
      const int top = inside ? std::clamp(y - side / 2, 0, std::max(high - side, 0)) : y - side / 2;
      const int left = inside ? std::clamp(x - side / 2, 0, std::max(wide - side, 0)) : x - side / 2;
      boxes.insert(boxes.end(), {top, top + side, left, left + side});
    }
  return boxes;
}

TEST(AttentionMask, BoxesAroundTheQuery) {
  for (const auto& [high, wide] : {std::pair{1, 1}, {1, 9}, {9, 1}, {8, 8}, {11, 13}, {33, 17}})
    for (const int side : {1, 3, 7})
      for (const bool inside : {true, false}) {
        AttentionCase c{.H = 2, .Nq = high * wide, .Nk = high * wide, .D = 3, .Dv = 4};
        c.query_box = boxes_of(high, wide, side, inside);
        c.box_columns = wide;
        check_attention(c, fmt::format("{} x {} side {} inside {}", high, wide, side, inside));
      }
}

TEST(AttentionMask, BoxesWithPrefixTokensGroupsAndEmptyOnes) {
  for (const std::int64_t prefix : {1, 3, 150}) {
    AttentionCase c{.B = 2, .G = 2, .H = 2, .Nq = 110, .Nk = prefix + 110, .D = 8, .Dv = 8};
    c.query_box = boxes_of(10, 11, 5, true);
    const std::vector<std::int32_t> more = boxes_of(10, 11, 3, false);
    c.query_box.insert(c.query_box.end(), more.begin(), more.end());
    for (std::size_t i = 7; i < 30; ++i) c.query_box[i * 4 + 1] = c.query_box[i * 4];         // no row
    for (std::size_t i = 120; i < 130; ++i) c.query_box[i * 4 + 3] = c.query_box[i * 4 + 2];  // no column
    for (std::size_t i = 130; i < 140; ++i) c.query_box[i * 4 + 1] = 2'000'000'000;           // all below
    for (std::size_t i = 140; i < 145; ++i) c.query_box[i * 4] = -2'000'000'000;              // all above
    c.box_columns = 11;
    c.box_first_key = prefix;
    check_attention(c, "prefix " + std::to_string(prefix));
    c.terms = {axis_term({1, 10, 11}, c, prefix)};
    c.key_lengths = {prefix + 60, prefix + 110};
    check_attention(c, "prefix, axis term, lengths " + std::to_string(prefix));
    c.causal = true;
    c.causal_offset = prefix;
    check_attention(c, "causal too, prefix " + std::to_string(prefix));
  }
}

TEST(AttentionMask, DenseWithEveryStride) {
  constexpr std::int64_t B = 2, G = 3, H = 2, Nq = 40, Nk = 75;
  for (int shared = 0; shared < 16; ++shared) {
    std::int64_t size = Nk;
    const auto axis = [&](int bit, std::int64_t extent) {
      if (shared >> bit & 1) return std::int64_t{0};
      const std::int64_t stride = size;
      size *= extent;
      return stride;
    };
    AttentionCase c{.B = B, .G = G, .H = H, .Nq = Nq, .Nk = Nk, .D = 8, .Dv = 8};
    const std::int64_t row = axis(0, Nq), head = axis(1, H), group = axis(2, G), batch = axis(3, B);
    c.dense_mask_strides = {batch, group, head, row};
    Rng rng(static_cast<std::uint64_t>(shared));
    for (std::int64_t x = 0; x < size; ++x)
      c.dense_mask.push_back(rng.uniform() < 0.3f ? 0 : static_cast<std::uint8_t>(1 + x % 255));
    c.terms = {dense_term(0, 0, 0, Nk, Nq * Nk)};
    check_attention(c, fmt::format("shared axes {:04b}", shared));
  }
}

TEST(AttentionMask, DenseOverSeveralBlocks) {
  AttentionCase c{.H = 2, .Nq = 101, .Nk = 1100, .D = 8, .Dv = 8};
  c.dense_mask_strides = {0, 0, 0, 1100};
  c.dense_mask.assign(101 * 1100, 0);
  for (std::size_t i = 1; i < 101; ++i)  // row 0 sees nothing, the others few keys of one or two blocks
    for (std::size_t j = i * 9; j < i * 11; ++j) c.dense_mask[i * 1100 + j] = 1;
  check_attention(c, "a band");
}

}  // namespace attention_mask_test
}  // namespace locant::testing
