#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_terms.h"

namespace locant::testing {
namespace attention_axis_test {

TEST(AttentionAxis, SquareGrids) {
  for (const std::int64_t side : {1, 2, 5, 7, 8, 16, 17}) {
    AttentionCase c{.B = 2, .H = 2, .Nq = side * side, .Nk = side * side, .D = 8, .Dv = 8};
    c.cancels = side == 1;
    c.terms = {axis_term({1, side, side}, c)};
    check_attention(c, "side " + std::to_string(side));
  }
}

// SAM's: 14 x 14 windows of a grid that they do not divide, padding slots acting as keys; several windows.
TEST(AttentionAxis, WindowsWithPaddingSlots) {
  AttentionCase c{.B = 2, .H = 3, .D = 8, .Dv = 8, .joint = true};
  c.rows = 20 * 17;
  c.G = 4;
  c.Nq = c.Nk = 14 * 14;
  c.query_rows = c.key_rows = window_rows(20, 17, 14, 0);
  c.terms = {axis_term({1, 14, 14}, c)};
  check_attention(c, "masked padding");
  c.pads = true;
  check_attention(c, "padding as keys");
  c.terms[0].head_scale = {0.5f, -1.0f, 2.0f};
  c.terms[0].head_scale_wanted = true;
  check_attention(c, "with head scales");
}

// Several key blocks, whose first and last rows of the grid are cut anywhere; tails of every length.
TEST(AttentionAxis, LongGridsOverSeveralBlocks) {
  for (const auto& [high, wide] : {std::pair{3, 400}, {30, 31}, {33, 32}, {41, 15}, {300, 2}, {600, 1}}) {
    AttentionCase c{.H = 2, .Nq = 100, .Nk = high * wide, .D = 4, .Dv = 4};
    c.terms = {axis_term({1, high, wide}, c)};
    check_attention(c, fmt::format("{} x {}", high, wide));
  }
}

TEST(AttentionAxis, PrefixTokensAndKeyLengths) {
  for (const std::int64_t prefix : {1, 5, 140}) {
    AttentionCase c{.B = 2, .H = 2, .Nq = 40, .Nk = prefix + 20 * 19, .D = 8, .Dv = 12};
    c.terms = {axis_term({1, 20, 19}, c, prefix)};
    check_attention(c, "prefix " + std::to_string(prefix));
    c.key_lengths = {prefix + 3, 300};
    check_attention(c, "prefix and lengths " + std::to_string(prefix));
  }
}

TEST(AttentionAxis, FramesRowsColumns) {
  AttentionCase c{.B = 2, .H = 2, .Nq = 3 * 5 * 7 + 1, .Nk = 3 * 5 * 7 + 1, .D = 16, .Dv = 16};
  c.terms = {axis_term({3, 5, 7}, c, 1)};
  check_attention(c, "three axes");
  c.terms = {axis_term({15, 1, 7}, c, 1)};
  check_attention(c, "frames and columns");
  c.terms = {axis_term({105, 1, 1}, c, 1)};
  check_attention(c, "frames alone");
  c.terms = {axis_term({1, 1, 105}, c, 1)};
  check_attention(c, "columns alone");
}

TEST(AttentionAxis, TinyShapesAndWidths) {
  for (const std::int64_t width : {1, 3}) {
    AttentionCase c{.H = 1, .Nq = 1, .Nk = 2, .D = width, .Dv = 5};
    c.terms = {axis_term({1, 2, 1}, c)};
    check_attention(c, "two keys");
    c.Nq = 7, c.Nk = 6;
    c.terms = {axis_term({1, 2, 3}, c)};
    check_attention(c, "six keys");
  }
}

TEST(AttentionAxis, BesideOtherTerms) {
  for (const std::int64_t B : {1, 3}) {  // the window's bias read each time; made ready
    AttentionCase c{.B = B, .H = 2, .Nq = 36, .Nk = 36, .D = 8, .Dv = 8};
    c.terms = {window_term(6, 2), axis_term({1, 6, 6}, c), dense_term(0, 0, 0, 36, 36 * 36),
               axis_term({1, 4, 9}, c)};
    for (std::size_t t = 0; t < 4; ++t) {
      c.terms[t].head_scale = {0.5f, 1.0f + static_cast<float>(t)};
      c.terms[t].head_scale_wanted = true;
    }
    check_attention(c, "batch " + std::to_string(B));
    for (const std::size_t t : {0, 1, 2, 3}) c.terms[t].wanted = false;
    check_attention(c, "head scales alone, batch " + std::to_string(B));
  }
}

// Only some of the tables' gradients, and none at all.
TEST(AttentionAxis, UnwantedGradientsAreNotWritten) {
  AttentionCase c{.B = 2, .H = 2, .Nq = 30, .Nk = 30, .D = 8, .Dv = 8};
  c.terms = {axis_term({1, 5, 6}, c), axis_term({1, 6, 5}, c)};
  c.terms[0].wanted = false;
  check_attention(c, "second alone");
  c.terms[1].wanted = false;
  check_attention(c, "none");
}

// Rows, heads or batches may read the same numbers: their gradients meet there.
TEST(AttentionAxis, SharedNumbers) {
  for (int shared = 1; shared < 8; ++shared) {
    AttentionCase c{.B = 2, .G = 2, .H = 3, .Nq = 70, .Nk = 143, .D = 8, .Dv = 8};
    for (int i = 0; i < 140; ++i) c.query_rows.push_back(i % 9 == 4 ? -1 : 139 - i);
    c.terms = {axis_term({1, 11, 13}, c)};
    auto& axis = std::get<AxisTerm>(c.terms[0].term);
    for (std::size_t x = 1; x < 3; ++x) {
      if (shared & 1) axis.batch_stride[x] = 0;
      if (shared & 2) axis.row_stride[x] = 0;
      if (shared & 4) axis.head_stride[x] = 0;
    }
    check_attention(c, "shared " + std::to_string(shared));
  }
}

// One head's key blocks go to several threads: rows of the tables are sums of parts.
TEST(AttentionAxis, HeadsAcrossThreadBorders) {
  AttentionCase c{.H = 3, .Nq = 150, .Nk = 12 * 19 + 3, .D = 16, .Dv = 16};
  c.terms = {axis_term({1, 12, 19}, c, 3)};
  check_threads(c, "three heads");
}

}  // namespace attention_axis_test
}  // namespace locant::testing
