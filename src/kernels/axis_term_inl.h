// Compiled once per instruction set: axis terms (SAM and kin) of a block of scores, and their gradients.
#if defined(LOCANT_KERNELS_AXIS_TERM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_AXIS_TERM_INL_H_
#undef LOCANT_KERNELS_AXIS_TERM_INL_H_
#else
#define LOCANT_KERNELS_AXIS_TERM_INL_H_
#endif

#include "kernels/score_block_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// An axis term for one query row: numbers of the frames, rows and columns of the key grid.
struct AxisRow {
  std::array<const float*, 3> tables;

  AxisRow(const AxisTerm& axis, const Block& block, std::int64_t row) {
    for (std::size_t x = 0; x < 3; ++x)
      tables[x] = axis.tables[x] == nullptr ? kZeros
                                            : axis.tables[x] + block.b * axis.batch_stride[x] +
                                                  row * axis.row_stride[x] + block.h * axis.head_stride[x];
  }
};

/// Columns [x, x + count) of row `row` of frame `frame` of the key grid, at column `column` of the block.
struct GridPiece {
  std::int64_t column, frame, row, x, count;
};

/// Calls body(piece) for the rows of the key grid that have columns in the block.
template <class Body>
HWY_INLINE void for_grid_rows(const AxisTerm& axis, const Block& block, const Body& body) {
  const std::int64_t wide = axis.extents[2], high = axis.extents[1];
  GridPiece piece{std::max<std::int64_t>(axis.first_key - block.j0, 0), 0, 0, 0, 0};
  const std::int64_t at = std::max<std::int64_t>(block.j0 - axis.first_key, 0);
  piece.x = at % wide;
  piece.row = at / wide % high;
  piece.frame = at / wide / high;
  for (; piece.column < block.keys; piece.column += piece.count, piece.x = 0) {
    piece.count = std::min(wide - piece.x, block.keys - piece.column);
    body(piece);
    if (++piece.row == high) piece.row = 0, ++piece.frame;
  }
}

/// The numbers of a query, times log2 e * head_scale, in scratch: columns, a vector that may be read behind
/// them, and frame + row for every row of the grid.
struct PackedAxis {
  std::int64_t wide, high;  ///< columns; rows of all frames

  explicit PackedAxis(const AxisTerm& axis)
      : wide(axis.extents[2]), high(axis.extents[0] * axis.extents[1]) {}
  std::int64_t rows_at() const { return line_up(wide + 16); }
  std::int64_t size() const { return axis_scratch(wide, high); }
};

/// Of one head the queries' numbers lie far apart: fetched together, many at a time are under way.
inline void pack_axis(const Plan& plan, const ScoreTerm& term, const Block& block, float* to) {
  const auto& axis = std::get<AxisTerm>(term.term);
  const PackedAxis packed(axis);
  const float factor = kLog2e * head_scale(term, block.h);
  for (std::int64_t r = 0; r < block.rows; ++r, to += packed.size()) {
    const std::int64_t row = query_row(*plan.args, block, block.i0 + r);
    if (row < 0) {
      std::fill_n(to, packed.size(), 0.0f);
      continue;
    }
    const AxisRow numbers(axis, block, row);
    copy_scaled(numbers.tables[2], factor, packed.wide, to);
    float* rows = to + packed.rows_at();
    for (std::int64_t frame = 0; frame < axis.extents[0]; ++frame, rows += axis.extents[1]) {
      copy_scaled(numbers.tables[1], factor, axis.extents[1], rows);
      if (axis.tables[0] == nullptr) continue;
      for (std::int64_t y = 0; y < axis.extents[1]; ++y) rows[y] += factor * numbers.tables[0][frame];
    }
  }
}

/// `count` whole rows of the grid, of at most kVectors vectors that stay in registers.
template <bool kAdd, int kVectors>
HWY_INLINE void write_whole_rows(const float* columns, const float* rows, std::int64_t count,
                                 std::int64_t wide, float* to) {
  const Floats d;
  Vec column[kVectors];
  for (std::int64_t v = 0; v < kVectors; ++v) column[v] = hn::LoadU(d, columns + v * kLanes);
  for (std::int64_t y = 0; y < count; ++y, to += wide) {
    const Vec base = hn::Set(d, rows[y]);
    if (kAdd) {
      write_run<kAdd>(to, wide,
                      [&](std::int64_t c) HWY_ATTR { return hn::Add(hn::LoadU(d, columns + c), base); });
    } else {
      for (std::int64_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Add(column[v], base), d, to + v * kLanes);
    }
  }
}

/// One query's scores from column `c` of the block on, which is column x of a row of the grid. Frame and row
/// are one number for a row of the grid: a broadcast, the columns and an addition make a vector.
template <bool kAdd>
HWY_INLINE void write_axis_row(const PackedAxis& packed, const float* columns, const float* rows,
                               std::int64_t c, std::int64_t x, std::int64_t keys, float* scores) {
  const Floats d;
  const std::int64_t wide = packed.wide;
  while (c < keys) {
    const std::int64_t whole = x == 0 ? (keys - c) / wide : 0;
    if (whole > 0 && wide <= 2 * kLanes) {
      if (wide <= kLanes) {
        write_whole_rows<kAdd, 1>(columns, rows, whole, wide, scores + c);
      } else {
        write_whole_rows<kAdd, 2>(columns, rows, whole, wide, scores + c);
      }
      c += whole * wide;
      rows += whole;
      continue;
    }
    const std::int64_t count = std::min(wide - x, keys - c);
    const Vec base = hn::Set(d, *rows++);
    write_run<kAdd>(scores + c, count,
                    [&](std::int64_t z) HWY_ATTR { return hn::Add(hn::LoadU(d, columns + x + z), base); });
    c += count;
    x = 0;
  }
}

/// scores = or += log2 e * head_scale * (frame + row + column)
template <bool kAdd>
inline void write_axis(const Plan& plan, const LooseTerm& loose, const Block& block) {
  const auto& axis = std::get<AxisTerm>(loose.term->term);
  const PackedAxis packed(axis);
  float* columns = block.spare + loose.scratch;
  if (block.first) pack_axis(plan, *loose.term, block, columns);
  const std::int64_t prefix = std::clamp<std::int64_t>(axis.first_key - block.j0, 0, block.keys);
  const std::int64_t at = std::max<std::int64_t>(block.j0 - axis.first_key, 0);
  const std::int64_t x0 = at % packed.wide, y0 = at / packed.wide;
  for (std::int64_t r = 0; r < block.rows; ++r, columns += packed.size()) {
    float* scores = block.scores + r * block.row;
    if (!kAdd) std::fill_n(scores, prefix, 0.0f);
    write_axis_row<kAdd>(packed, columns, columns + packed.rows_at() + y0, prefix, x0, block.keys, scores);
  }
}

/// sum of from[0..count); to[0..count) += factor * from unless `to` is null.
HWY_INLINE float sum_and_add(const float* from, std::int64_t count, float factor, float* to) {
  const Floats d;
  Vec sum = hn::Zero(d);
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) sum = hn::Add(sum, hn::LoadU(d, from + c));
  if (c < count) {
    const auto inside = hn::FirstN(d, static_cast<std::size_t>(count - c));
    sum = hn::Add(sum, hn::IfThenElseZero(inside, hn::LoadU(d, from + c)));
  }
  if (to != nullptr) add_scaled(from, factor, count, to);
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

/// The gradients of the tables and of the head scale; the block holds dS.
inline void add_axis_grad(const Plan& plan, const ScoreTerm& term, const std::array<RowGrad, 3>& grads,
                          float* dhead_scale, const Block& block) {
  const auto& axis = std::get<AxisTerm>(term.term);
  const AttentionArgs& a = *plan.args;
  const float factor = head_scale(term, block.h);
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int64_t i = block.i0 + r, row = query_row(a, block, i);
    if (row < 0) continue;
    const float* ds = block.scores + r * block.row;
    float* dframes = grad_row(grads[0], block, a.Nq, i, row);
    float* drows = grad_row(grads[1], block, a.Nq, i, row);
    float* dcolumns = grad_row(grads[2], block, a.Nq, i, row);
    const AxisRow numbers(axis, block, row);
    float dscale = 0.0f;
    for_grid_rows(axis, block, [&](const GridPiece& piece) HWY_ATTR {
      const float* from = ds + piece.column;
      const float sum =
          sum_and_add(from, piece.count, factor, dcolumns != nullptr ? dcolumns + piece.x : nullptr);
      if (drows != nullptr) drows[piece.row] += factor * sum;
      if (dframes != nullptr) dframes[piece.frame] += factor * sum;
      if (dhead_scale == nullptr) return;
      dscale += sum * (numbers.tables[0][piece.frame] + numbers.tables[1][piece.row]);
      for (std::int64_t c = 0; c < piece.count; ++c) dscale += from[c] * numbers.tables[2][piece.x + c];
    });
    if (dhead_scale != nullptr) dhead_scale[block.h] += dscale;
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
