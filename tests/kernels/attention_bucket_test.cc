#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/kernels/attention_terms.h"

namespace locant::testing {
namespace attention_bucket_test {

AttentionCase grid(int high, int wide, Side side, std::int64_t buckets) {
  AttentionCase c{.B = 2, .H = 2, .Nq = high * wide, .Nk = high * wide, .D = 8, .Dv = 8};
  c.terms = {bucket_term(side, high, wide, buckets, c)};
  c.cancels = high * wide == 1;
  return c;
}

std::string side_name(Side side) { return side == Side::query ? "query" : "key"; }

// Every way to look numbers up: by registers of each size, and from memory.
TEST(AttentionBucket, RowsOfEveryWidth) {
  for (const Side side : {Side::query, Side::key})
    for (const std::int64_t buckets : {1, 2, 7, 15, 16, 17, 31, 32, 33, 50, 63, 64, 65, 130})
      check_attention(grid(9, 8, side, buckets), fmt::format("{} {}", side_name(side), buckets));
}

TEST(AttentionBucket, Grids) {
  for (const Side side : {Side::query, Side::key})
    for (const auto& [high, wide] :
         {std::pair{1, 1}, {1, 2}, {2, 1}, {1, 63}, {64, 1}, {5, 13}, {8, 8}, {13, 23}})
      check_attention(grid(high, wide, side, 25), fmt::format("{} {} x {}", side_name(side), high, wide));
}

TEST(AttentionBucket, NegativeEntriesReadNothing) {
  for (const Side side : {Side::query, Side::key})
    for (const std::int64_t buckets : {15, 16, 49, 64, 100}) {
      AttentionCase c = grid(6, 11, side, buckets);
      for (std::size_t x = 0; x < c.terms[0].map.size(); x += 3) c.terms[0].map[x] = -1;
      check_attention(c, fmt::format("{} {}", side_name(side), buckets));
    }
}

// Codes of a line and no map: the numbers are those of the distance.
TEST(AttentionBucket, IdentityMapOverSeveralBlocks) {
  for (const Side side : {Side::query, Side::key}) {
    AttentionCase c{.H = 2, .Nq = 130, .Nk = 700, .D = 4, .Dv = 4};
    AttentionCase::Term term = bucket_term(side, 1, 1, 829, c);
    auto& bucket = std::get<BucketTerm>(term.term);
    bucket.offset.offsets = 829;
    bucket.offset.origin = 699;
    term.map.clear();
    term.query_code.clear(), term.key_code.clear();
    for (int i = 0; i < 130; ++i) term.query_code.push_back(i);
    for (int j = 0; j < 700; ++j) term.key_code.push_back(j);
    c.terms = {term};
    check_attention(c, side_name(side));
    c.terms[0].head_scale = {1.5f, -0.5f};
    c.terms[0].head_scale_wanted = true;
    check_attention(c, "scaled " + side_name(side));
  }
}

TEST(AttentionBucket, CodesWithoutAnyOrder) {
  for (const Side side : {Side::query, Side::key}) {
    AttentionCase c = grid(5, 8, side, 21);
    for (std::size_t x = 0; x < 40; ++x) {
      c.terms[0].query_code[x] = static_cast<std::int32_t>(x * 17 % 40);
      c.terms[0].key_code[x] = static_cast<std::int32_t>(x * 23 % 60 / 2);
    }
    check_attention(c, side_name(side));
  }
}

TEST(AttentionBucket, MapsPadsAndSharedKeys) {
  for (const Side side : {Side::query, Side::key}) {
    AttentionCase c{.B = 2, .G = 4, .H = 2, .D = 8, .Dv = 12};
    c.rows = 9 * 11;
    c.Nq = c.Nk = 36;
    c.query_rows = c.key_rows = window_rows(9, 11, 6, 0);
    c.terms = {bucket_term(side, 6, 6, 30, c)};
    check_attention(c, "padding masked, " + side_name(side));
    c.pads = true;
    check_attention(c, "padding as keys, " + side_name(side));
    for (std::size_t x = 0; x < c.key_rows.size(); ++x) c.key_rows[x] = static_cast<std::int32_t>(x * 5 % 40);
    check_attention(c, "shared keys, " + side_name(side));
    c.terms[0].head_scale = {0.5f, -1.0f};
    c.terms[0].head_scale_wanted = true;
    check_attention(c, "shared keys with head scales, " + side_name(side));
  }
}

// iRPE on both sides beside other terms, from tables read each time and made ready.
TEST(AttentionBucket, BothSidesBesideOtherTerms) {
  for (const std::int64_t B : {1, 3}) {
    AttentionCase c{.B = B, .H = 6, .Nq = 36, .Nk = 36, .D = 8, .Dv = 8};
    c.terms = {bucket_term(Side::key, 6, 6, 49, c), window_term(6, 6), bucket_term(Side::query, 6, 6, 20, c),
               axis_term({1, 6, 6}, c)};
    for (std::size_t t = 0; t < 4; ++t) {
      c.terms[t].head_scale = {0.5f, 1.0f - 0.5f * static_cast<float>(t), 1.0f, -1.0f, 0.25f, 0.75f};
      c.terms[t].head_scale_wanted = true;
    }
    check_attention(c, "batch " + std::to_string(B));
    c.terms[0].wanted = c.terms[2].wanted = false;
    check_attention(c, "some unwanted, batch " + std::to_string(B));
    c.terms[0].head_scale_wanted = c.terms[2].head_scale_wanted = false;
    check_attention(c, "more unwanted, batch " + std::to_string(B));
  }
}

// Rows, heads or batches may read the same numbers: their gradients meet there.
TEST(AttentionBucket, SharedNumbers) {
  for (const Side side : {Side::query, Side::key})
    for (int shared = 1; shared < 8; ++shared) {
      AttentionCase c = grid(9, 13, side, 25);
      for (int i = 0; i < 9 * 13; ++i) c.query_rows.push_back(i % 9 == 4 ? -1 : 116 - i);
      c.key_rows = c.query_rows;
      auto& bucket = std::get<BucketTerm>(c.terms[0].term);
      if (shared & 1) bucket.batch_stride = 0;
      if (shared & 2) bucket.row_stride = 0;
      if (shared & 4) bucket.head_stride = 0;
      check_attention(c, fmt::format("{} shared {}", side_name(side), shared));
    }
}

TEST(AttentionBucket, TinyWidths) {
  for (const Side side : {Side::query, Side::key}) {
    AttentionCase c = grid(5, 5, side, 9);
    c.D = 1, c.Dv = 3;
    check_attention(c, side_name(side));
    c.key_lengths = {7, 25};
    c.causal = true;
    check_attention(c, "causal " + side_name(side));
  }
}

// A single slot on any row, with numbers that heads share.
TEST(AttentionBucket, OneSlotOnAnyRow) {
  for (const Side side : {Side::query, Side::key}) {
    AttentionCase c{.B = 2, .H = 3, .Nq = 9, .Nk = 9, .rows = 12};
    (side == Side::query ? c.Nq : c.Nk) = 1;
    c.query_rows = {7, 0, 3, 2, 11, 1, 9, 4, 5};
    c.key_rows = {10, 1, 6, 0, 3, 8, 2, 7, 5};
    c.query_rows.resize(static_cast<std::size_t>(c.Nq));
    c.key_rows.resize(static_cast<std::size_t>(c.Nk));
    c.terms = {bucket_term(side, 3, 3, 5, c)};
    std::get<BucketTerm>(c.terms[0].term).head_stride = 0;
    check_attention(c, side_name(side));
  }
}

// One head's key blocks go to several threads.
TEST(AttentionBucket, HeadsAcrossThreadBorders) {
  for (const Side side : {Side::query, Side::key}) {
    AttentionCase c{.H = 3, .Nq = 12 * 19, .Nk = 12 * 19, .D = 16, .Dv = 16};
    c.terms = {bucket_term(side, 12, 19, 25, c)};
    check_threads(c, side_name(side));
  }
}

}  // namespace attention_bucket_test
}  // namespace locant::testing
