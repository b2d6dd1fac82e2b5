// Compiled once per instruction set: register tiles, base-2 exponential, packing.
#if defined(LOCANT_KERNELS_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_ATTENTION_TILE_INL_H_
#undef LOCANT_KERNELS_ATTENTION_TILE_INL_H_
#else
#define LOCANT_KERNELS_ATTENTION_TILE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "kernels/attention_plan.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Ints = hn::RebindToSigned<Floats>;
using Vec = hn::Vec<Floats>;

inline constexpr std::int64_t kLanes = HWY_LANES(float);
/// With kTileRows rows: 24 sums, 4 loads and a broadcast in 32 registers; 12, 2 and 1 in 16.
inline constexpr std::int64_t kTileVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
inline constexpr std::int64_t kPanel = kLanes * kTileVectors;

alignas(64) inline constexpr float kZeros[kMaxWidth] = {};

/// C (rows, vectors) = init + A (rows, depth) B (depth, vectors). B lies in panels of kPanel columns.
struct Product {
  std::int64_t rows = 0, vectors = 0, depth = 0;
  const float* a = nullptr;  ///< element (r, k) at r * a_row + k * a_step
  std::int64_t a_row = 0, a_step = 0;
  const float* b = nullptr;  ///< element (k, c) at c / kPanel * b_panel + k * b_step + c % kPanel
  std::int64_t b_step = 0, b_panel = 0;
  const float* init = kZeros;  ///< as b, with rows for k; rows of distance 0 repeat one
  std::int64_t init_row = 0, init_panel = 0;
  float* c = nullptr;  ///< rows of c_row floats
  std::int64_t c_row = 0;
};

/// Compilers load anew for each of a few rows; addresses off the lines cost two loads.
HWY_INLINE void keep_loaded(Vec& v) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX2
  asm("" : "+v"(v.raw));
#else
  (void)v;
#endif
}

/// One register tile. All pointers stand at its corner; only strides and depth are read from p. A number is
/// summed up in the same order whatever the tile's size.
template <std::int64_t kRows, std::int64_t kVectors>
HWY_NOINLINE void multiply_tile(const Product& p, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b,
                                const float* init, float* c) {
  const Floats d;
  Vec sum[kRows][kVectors];
  HWY_UNROLL(6)
  for (std::int64_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (std::int64_t n = 0; n < kVectors; ++n) sum[r][n] = hn::Load(d, init + r * p.init_row + n * kLanes);
  }
  const std::int64_t a_row = p.a_row, a_step = p.a_step, b_step = p.b_step;
  for (std::int64_t k = p.depth; k > 0; --k) {
    Vec column[kVectors];
    HWY_UNROLL(4)
    for (std::int64_t n = 0; n < kVectors; ++n) column[n] = hn::LoadU(d, b + n * kLanes);
    if (kRows > 1 && kRows <= 4)
      for (Vec& loaded : column) keep_loaded(loaded);
    HWY_UNROLL(6)
    for (std::int64_t r = 0; r < kRows; ++r) {
      const Vec row = hn::Set(d, a[r * a_row]);
      HWY_UNROLL(4)
      for (std::int64_t n = 0; n < kVectors; ++n) sum[r][n] = hn::MulAdd(row, column[n], sum[r][n]);
    }
    a += a_step;
    b += b_step;
  }
  HWY_UNROLL(6)
  for (std::int64_t r = 0; r < kRows; ++r) {
    HWY_UNROLL(4)
    for (std::int64_t n = 0; n < kVectors; ++n) hn::Store(sum[r][n], d, c + r * p.c_row + n * kLanes);
  }
}

using TileFunction = void (*)(const Product&, const float*, const float*, const float*, float*);

template <std::int64_t kVectors>
constexpr std::array<TileFunction, kTileRows> tile_functions() {
  return {multiply_tile<1, kVectors>, multiply_tile<2, kVectors>, multiply_tile<3, kVectors>,
          multiply_tile<4, kVectors>, multiply_tile<5, kVectors>, multiply_tile<6, kVectors>};
}

/// [vectors - 1][rows - 1]
#if HWY_TARGET == HWY_AVX3
inline constexpr std::array<std::array<TileFunction, kTileRows>, 4> kTiles = {
    tile_functions<1>(), tile_functions<2>(), tile_functions<3>(), tile_functions<4>()};
#else
inline constexpr std::array<std::array<TileFunction, kTileRows>, 2> kTiles = {tile_functions<1>(),
                                                                              tile_functions<2>()};
#endif

/// Panels outside, so that one of B stays in the first cache while the rows pass by. The rows are cut into
/// tiles that differ by one at most: 49 is 4 x 6 + 5 x 5, not 8 x 6 + 1.
inline void multiply(const Product& p) {
  if (p.rows <= 0) return;
  const std::int64_t strips = ceil_div(p.rows, kTileRows);
  const std::int64_t least = p.rows / strips, longer = p.rows % strips;
  for (std::int64_t n = 0, panel = 0; n < p.vectors; n += kTileVectors, ++panel) {
    const auto& tiles = kTiles[static_cast<std::size_t>(std::min(kTileVectors, p.vectors - n) - 1)];
    const float* b = p.b + panel * p.b_panel;
    const float* init = p.init + panel * p.init_panel;
    float* c = p.c + n * kLanes;
    std::int64_t r = 0;
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      const std::int64_t rows = strip < longer ? least + 1 : least;
      tiles[static_cast<std::size_t>(rows - 1)](p, p.a + r * p.a_row, b, init + r * p.init_row,
                                                c + r * p.c_row);
      r += rows;
    }
  }
}

/// `multiply` where the last vector of C has a single column, and that is A times `column` (depth, zeros up
/// to whole vectors; so are the rows of A, whose step must be 1): 49 keys of 7 x 7 tokens, or a square and a
/// class token. A dot product a row costs a fifth of the products with a vector of padding.
inline void multiply_lone_column(Product p, std::int64_t columns, const float* column) {
  p.vectors = columns / kLanes;
  multiply(p);
  const Floats d;
  const std::int64_t panel = p.vectors / kTileVectors, inside = p.vectors % kTileVectors * kLanes;
  const float* init = p.init + panel * p.init_panel + inside;
  const auto lane = hn::FirstN(d, 1);
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const float* a = p.a + r * p.a_row;
    Vec sum = hn::Zero(d);
    for (std::int64_t k = 0; k < p.depth; k += kLanes)
      sum = hn::MulAdd(hn::Load(d, a + k), hn::Load(d, column + k), sum);
    const Vec start = hn::Load(d, init + r * p.init_row);
    hn::Store(hn::Add(start, hn::IfThenElseZero(lane, hn::SumOfLanes(d, sum))), d,
              p.c + r * p.c_row + p.vectors * kLanes);
  }
}

/// 2^x for x <= 128, relative error 1.3e-7; exactly 0 from -127 down to -inf. NaN stays NaN.
/// 2^x = 2^floor(x) 2^f, f in [0, 1), the second by a polynomial of degree 5 (minimax of the relative error
/// with value 1 at 0, so that the bits of 2^floor(x) may be added to the exponent).
HWY_INLINE Vec exp2(Vec x) {
  const Floats d;
  const auto power = [d](Vec f) HWY_ATTR {
    Vec p = hn::MulAdd(hn::Set(d, 0.001867130905f), f, hn::Set(d, 0.009017028035f));
    p = hn::MulAdd(p, f, hn::Set(d, 0.05579991532f));
    p = hn::MulAdd(p, f, hn::Set(d, 0.2401644493f));
    p = hn::MulAdd(p, f, hn::Set(d, 0.6931513119f));
    return hn::MulAdd(p, f, hn::Set(d, 1.0f));
  };
#if HWY_TARGET == HWY_AVX3
  // x - floor(x), 0 for -inf; then p * 2^floor(x) in one instruction each. Subnormal results would be slow to
  // multiply by on some machines, and an additive mask of -100 gives them wholesale: zero from -126 down, but
  // let NaN through.
  const Vec f{_mm512_reduce_ps(x.raw, 0x09)};
  const __mmask16 normal = _mm512_cmp_ps_mask(x.raw, hn::Set(d, -126.0f).raw, _CMP_NLT_UQ);
  return Vec{_mm512_maskz_scalef_ps(normal, power(f).raw, x.raw)};
#else
  x = hn::Max(hn::Set(d, -127.0f), x);  // in this order a NaN comes through
  const Vec whole = hn::Floor(x);
  const Vec p = power(hn::Sub(x, whole));
  // 1.5 * 2^23 + whole has `whole` in its low bits; shifted by 23 they line up with the exponent.
  const Ints di;
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(di, hn::Add(whole, hn::Set(d, 0x1.8p23f))));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
#endif
}

/// Rows of one head by slot, through a row map.
struct Rows {
  const float* base = nullptr;  ///< row 0 of this batch and head
  std::int64_t stride = 0;
  const std::int32_t* map = nullptr;  ///< of this group; null: slot x is row first + x
  std::int64_t first = 0;
  const float* pad = nullptr;  ///< stands for slots without a row

  /// Negative: a padding slot.
  std::int64_t row(std::int64_t slot) const { return map == nullptr ? first + slot : map[slot]; }
  const float* at(std::int64_t slot) const {
    const std::int64_t r = row(slot);
    return r >= 0 ? base + r * stride : pad;
  }
};

/// Asks for row `row` that will be read (or written) soon, into the second cache: the first is full of the
/// tile.
template <bool kWrite>
HWY_INLINE void prefetch_row(const Rows& rows, std::int64_t row, std::int64_t width) {
  const float* from = rows.base + row * rows.stride;
  for (std::int64_t c = 0; c < width; c += 16) __builtin_prefetch(from + c, kWrite ? 1 : 0, 2);
}

/// to (count, padded) = factor * rows of `width` floats, zeros behind them and for slots without a row.
inline void pack_rows(const Rows& rows, std::int64_t slot, std::int64_t count, std::int64_t width,
                      std::int64_t padded, float factor, float* to) {
  const Floats d;
  const Vec scale = hn::Set(d, factor);
  const std::int64_t whole = width / kLanes * kLanes;
  for (std::int64_t x = 0; x < count; ++x, to += padded) {
    const float* from = rows.at(slot + x);
    if (from == nullptr) from = kZeros;
    for (std::int64_t c = 0; c < whole; c += kLanes)
      hn::Store(hn::Mul(scale, hn::LoadU(d, from + c)), d, to + c);
    if (whole == width) continue;
    hn::Store(hn::Zero(d), d, to + whole);
    for (std::int64_t c = whole; c < width; ++c) to[c] = factor * from[c];
  }
}

/// Four rows' columns [c, c + 4) as four columns: to[k * kStep + x] = row x, column c + k.
template <std::int64_t kStep = kPanel>
HWY_INLINE void transpose_4x4(const std::array<const float*, 4>& rows, std::int64_t c, float* to) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  const auto r0 = hn::LoadU(d, rows[0] + c), r1 = hn::LoadU(d, rows[1] + c);
  const auto r2 = hn::LoadU(d, rows[2] + c), r3 = hn::LoadU(d, rows[3] + c);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), d, to);
  hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)), d, to + kStep);
  hn::Store(hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), d, to + 2 * kStep);
  hn::Store(hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23)), d, to + 3 * kStep);
}

/// Rows as columns: panels of kPanel slots, each panel (head_rows + width, kPanel). With head_rows = 1 the
/// first row of a panel is what a score starts from: 0, or -inf for slots that nobody sees (no row, or beyond
/// `count`). Fills whole panels. Returns true when a slot below count has no row.
inline bool pack_columns(const Rows& rows, std::int64_t slot, std::int64_t count, std::int64_t width,
                         std::int64_t head_rows, float* to) {
  bool holes = false;
  for (std::int64_t x0 = 0; x0 < count; x0 += kPanel, to += (head_rows + width) * kPanel) {
    for (std::int64_t x = 0; x < kPanel; x += 4) {
      std::array<const float*, 4> from;
      for (std::int64_t y = 0; y < 4; ++y) {
        const bool inside = x0 + x + y < count;
        const float* row = inside ? rows.at(slot + x0 + x + y) : nullptr;
        if (head_rows == 1) to[x + y] = row != nullptr ? 0.0f : -HUGE_VALF;
        holes = holes || (inside && row == nullptr);
        from[static_cast<std::size_t>(y)] = row != nullptr ? row : kZeros;
      }
      float* column = to + head_rows * kPanel + x;
      std::int64_t c = 0;
      for (; c + 4 <= width; c += 4) transpose_4x4(from, c, column + c * kPanel);
      for (; c < width; ++c)
        for (std::size_t y = 0; y < 4; ++y) column[c * kPanel + static_cast<std::int64_t>(y)] = from[y][c];
    }
  }
  return holes;
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
