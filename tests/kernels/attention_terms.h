#pragma once

// Terms and codes for the cases of attention_case.h.

#include "tests/kernels/attention_case.h"

namespace locant::testing {

/// Slot -> row of windows side x side of a grid (wide x high), shifted cyclically; -1 beyond the grid.
inline std::vector<std::int32_t> window_rows(int high, int wide, int side, int shift) {
  std::vector<std::int32_t> rows;
  const int down = (high + side - 1) / side, across = (wide + side - 1) / side;
  for (int w = 0; w < down * across; ++w)
    for (int x = 0; x < side * side; ++x) {
      const int row = (w / across * side + x / side + shift) % (down * side);
      const int column = (w % across * side + x % side + shift) % (across * side);
      rows.push_back(row < high && column < wide ? row * wide + column : -1);
    }
  return rows;
}

/// A table over the displacements of a window.
inline AttentionCase::Term window_term(int side, std::int64_t H) {
  AttentionCase::Term term;
  GatherTerm gather;
  gather.offset.offsets = gather.offset.table_rows = (2 * side - 1) * (2 * side - 1);
  gather.row_stride = H;
  gather.head_stride = 1;
  gather.offset.origin = (side - 1) * (2 * side - 1) + side - 1;
  for (int x = 0; x < side * side; ++x) term.query_code.push_back(x / side * (2 * side - 1) + x % side);
  term.key_code = term.query_code;
  term.term = gather;
  term.size = gather.offset.table_rows * H;
  return term;
}

inline AttentionCase::Term dense_term(std::int64_t batch, std::int64_t group, std::int64_t head,
                                      std::int64_t row, std::int64_t size) {
  AttentionCase::Term term;
  DenseTerm dense;
  dense.batch_stride = batch;
  dense.group_stride = group;
  dense.head_stride = head;
  dense.row_stride = row;
  term.term = dense;
  term.size = size;
  return term;
}

/// Numbers of every query row for the frames, rows and columns of a key grid; tables one after the other,
/// each (B, token rows, H, extent).
inline AttentionCase::Term axis_term(std::array<std::int64_t, 3> extents, const AttentionCase& c,
                                     std::int64_t first_key = 0) {
  AttentionCase::Term term;
  AxisTerm axis;
  axis.extents = extents;
  axis.first_key = first_key;
  for (std::size_t x = 0; x < 3; ++x) {
    if (extents[x] == 1) continue;
    axis.head_stride[x] = extents[x];
    axis.row_stride[x] = c.H * extents[x];
    axis.batch_stride[x] = c.token_rows() * axis.row_stride[x];
    term.starts[x] = term.size;
    term.size += c.B * axis.batch_stride[x];
  }
  term.term = axis;
  return term;
}

/// Numbers of every query or key row for the offsets of a grid, put into `buckets` buckets; the table is (B,
/// token rows, H, buckets). The grid's codes as in window_term, for queries and keys.
inline AttentionCase::Term bucket_term(Side side, int high, int wide, std::int64_t buckets,
                                       const AttentionCase& c) {
  AttentionCase::Term term;
  BucketTerm bucket;
  bucket.side = side;
  bucket.offset.offsets = (2 * high - 1) * (2 * wide - 1);
  bucket.offset.table_rows = buckets;
  bucket.offset.origin = (high - 1) * (2 * wide - 1) + wide - 1;
  bucket.head_stride = buckets;
  bucket.row_stride = c.H * buckets;
  bucket.batch_stride = c.token_rows() * bucket.row_stride;
  for (int x = 0; x < high * wide; ++x) term.query_code.push_back(x / wide * (2 * wide - 1) + x % wide);
  term.key_code = term.query_code;
  for (std::int32_t x = 0; x < bucket.offset.offsets; ++x)
    term.map.push_back(static_cast<std::int32_t>(x * 7 / 3 % buckets));
  term.term = bucket;
  term.size = c.B * bucket.batch_stride;
  return term;
}

/// Offsets between two lines of slots: query i + lead against key j, index = offset.
inline AttentionCase::Term line_codes(std::int64_t Nq, std::int64_t Nk, std::int64_t lead = 0) {
  AttentionCase::Term term;
  for (std::int64_t i = 0; i < Nq; ++i) term.query_code.push_back(static_cast<std::int32_t>(i + lead));
  for (std::int64_t j = 0; j < Nk; ++j) term.key_code.push_back(static_cast<std::int32_t>(j));
  OffsetView offset;
  offset.origin = static_cast<std::int32_t>(Nk - 1);
  offset.offsets = offset.table_rows = Nq + Nk - 1 + lead;
  term.term = BandTerm{offset};
  return term;
}

/// Displacements between the slots of two grids of the same width.
inline AttentionCase::Term grid_codes(std::int64_t query_rows, std::int64_t key_rows, std::int64_t columns) {
  AttentionCase::Term term;
  const auto fill = [columns](std::int64_t rows, std::vector<std::int32_t>& code) {
    for (std::int64_t x = 0; x < rows * columns; ++x)
      code.push_back(static_cast<std::int32_t>(x / columns * (2 * columns - 1) + x % columns));
  };
  fill(query_rows, term.query_code);
  fill(key_rows, term.key_code);
  OffsetView offset;
  offset.origin = static_cast<std::int32_t>((key_rows - 1) * (2 * columns - 1) + columns - 1);
  offset.offsets = offset.table_rows = (query_rows + key_rows - 1) * (2 * columns - 1);
  term.term = BandTerm{offset};
  return term;
}

/// A map onto `rows` table rows: distances beyond it are clipped; every `hole`-th offset reads nothing (0:
/// all read).
inline AttentionCase::Term clipped(AttentionCase::Term term, std::int64_t rows, std::int64_t hole) {
  OffsetView& offset = std::get<BandTerm>(term.term).offset;
  for (std::int64_t x = 0; x < offset.offsets; ++x) {
    const std::int64_t index = std::clamp<std::int64_t>(x - offset.origin + rows / 2, 0, rows - 1);
    term.map.push_back(hole > 0 && x % hole == 1 ? -1 : static_cast<std::int32_t>(index));
  }
  offset.table_rows = rows;
  return term;
}

/// Vectors of `width` floats for the codes' offsets, of each head or of all.
inline AttentionCase::Term band_of(AttentionCase::Term codes, Side side, std::int64_t H, std::int64_t width,
                                   bool shared = false) {
  auto& band = std::get<BandTerm>(codes.term);
  band.side = side;
  band.row_stride = (shared ? 1 : H) * width;
  band.head_stride = shared ? 0 : width;
  codes.size = band.offset.table_rows * band.row_stride;
  return codes;
}

/// Numbers for the codes' offsets, of each head or of all.
inline AttentionCase::Term factor_of(AttentionCase::Term codes, std::int64_t H, bool shared = false) {
  GatherTerm gather;
  gather.offset = std::get<BandTerm>(codes.term).offset;
  gather.row_stride = shared ? 1 : H;
  gather.head_stride = shared ? 0 : 1;
  codes.term = gather;
  codes.size = gather.offset.table_rows * gather.row_stride;
  return codes;
}

}  // namespace locant::testing
