// Compiled once per instruction set: probabilities summed up per vector of a value term of few vectors, and
// the factor of the products.
#if defined(LOCANT_KERNELS_VALUE_TERM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_VALUE_TERM_INL_H_
#undef LOCANT_KERNELS_VALUE_TERM_INL_H_
#else
#define LOCANT_KERNELS_VALUE_TERM_INL_H_
#endif

#include "kernels/band_tile_inl.h"
#include "kernels/score_block_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// Floats of a row of sums per vector; the first behind the vectors takes what reads none.
constexpr std::int64_t bucket_row(const BandTable& table) { return line_up(table.packed + 1); }

/// Calls body(row, position, column, count) for each run of positions of each row of the tile.
template <class Body>
HWY_INLINE void for_positions(const BandTile& tile, const Body& body) {
  const CodeRun* first = first_run(tile.codes->runs, tile.column0);
  for (std::int64_t r = 0; r < tile.rows; ++r) {
    const std::int64_t base = tile.codes->shift - tile.row_code()[r];
    for_runs(first, tile.codes->runs, tile.column0, tile.columns,
             [&](std::int64_t code, std::int64_t column, std::int64_t count)
                 HWY_ATTR { body(r, base + code, column, count); });
  }
}

/// sums (rows, bucket_row) += the tile's numbers at the vectors that they read. Four columns side by side
/// have rows of their own in `spread` (4, bucket_row): one often reads what its neighbour has just written.
inline void add_buckets(const BandTable& table, const BandTile& tile, float* sums, float* spread) {
  const Floats d;
  const std::int64_t size = bucket_row(table);
  const auto collect = [&](float* to) HWY_ATTR {
    for (std::int64_t x = 0; x < size; x += kLanes) {
      Vec sum = hn::Load(d, to + x);
      for (std::int64_t y = 0; y < 4; ++y) {
        sum = hn::Add(sum, hn::Load(d, spread + y * size + x));
        hn::Store(hn::Zero(d), d, spread + y * size + x);
      }
      hn::Store(sum, d, to + x);
    }
  };
  std::fill_n(spread, 4 * size, 0.0f);
  std::int64_t row = 0;
  float *s0 = spread, *s1 = s0 + size, *s2 = s1 + size, *s3 = s2 + size;
  for_positions(tile,
                [&](std::int64_t r, std::int64_t position, std::int64_t column, std::int64_t count) HWY_ATTR {
                  for (; row < r; ++row) collect(sums + row * size);
                  const std::int32_t* index = table.index.data() + position;
                  const float* from = tile.scores + r * tile.row + column;
                  std::int64_t x = 0;
                  for (; x + 4 <= count; x += 4) {
                    s0[index[x]] += from[x];
                    s1[index[x + 1]] += from[x + 1];
                    s2[index[x + 2]] += from[x + 2];
                    s3[index[x + 3]] += from[x + 3];
                  }
                  for (; x < count; ++x) s0[index[x]] += from[x];
                });
  for (; row < tile.rows; ++row) collect(sums + row * size);
}

/// The tile's numbers += those of `from` (rows, bucket_row) that they read.
inline void read_buckets(const BandTable& table, const BandTile& tile, const float* from) {
  const std::int64_t size = bucket_row(table);
  for_positions(tile,
                [&](std::int64_t r, std::int64_t position, std::int64_t column, std::int64_t count) HWY_ATTR {
                  const std::int32_t* index = table.index.data() + position;
                  const float* values = from + r * size;
                  float* to = tile.scores + r * tile.row + column;
                  for (std::int64_t x = 0; x < count; ++x) to[x] += values[index[x]];
                });
}

/// The tile's numbers times the factor; what they were goes to `raw`, of the same rows, when given.
inline void multiply_factor(const FactorTable& table, std::int64_t h, const BandTile& tile, float* raw) {
  const Floats d;
  const float* values = table.values.get() + table.slot(h) * table.padded;
  for (std::int64_t r = 0; raw != nullptr && r < tile.rows; ++r)
    std::copy_n(tile.scores + r * tile.row, tile.columns, raw + r * tile.row);
  for_positions(tile,
                [&](std::int64_t r, std::int64_t position, std::int64_t column, std::int64_t count) HWY_ATTR {
                  const float* factor = values + position;
                  float* to = tile.scores + r * tile.row + column;
                  std::int64_t x = 0;
                  for (; x + kLanes <= count; x += kLanes)
                    hn::StoreU(hn::Mul(hn::LoadU(d, factor + x), hn::LoadU(d, to + x)), d, to + x);
                  for (; x < count; ++x) to[x] *= factor[x];
                });
}

/// With dS in the tile: dfactor[position] += raw dS, and raw becomes factor dS, what the products' gradients
/// are made of. dfactor may be null.
inline void factor_grads(const FactorTable& table, std::int64_t h, const BandTile& tile, float* raw,
                         float* dfactor) {
  const Floats d;
  const float* values = table.values.get() + table.slot(h) * table.padded;
  for_positions(
      tile, [&](std::int64_t r, std::int64_t position, std::int64_t column, std::int64_t count) HWY_ATTR {
        const float *factor = values + position, *ds = tile.scores + r * tile.row + column;
        float* product = raw + r * tile.row + column;
        float* sum = dfactor + position;
        std::int64_t x = 0;
        for (; x + kLanes <= count; x += kLanes) {
          const Vec grad = hn::LoadU(d, ds + x);
          hn::StoreU(hn::MulAdd(grad, hn::LoadU(d, product + x), hn::LoadU(d, sum + x)), d, sum + x);
          hn::StoreU(hn::Mul(grad, hn::LoadU(d, factor + x)), d, product + x);
        }
        for (; x < count; ++x) {
          sum[x] += ds[x] * product[x];
          product[x] = ds[x] * factor[x];
        }
      });
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
