// Compiled once per instruction set: walks through a tile of scores by position, and turns tiles.
#if defined(LOCANT_KERNELS_BAND_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_BAND_TILE_INL_H_
#undef LOCANT_KERNELS_BAND_TILE_INL_H_
#else
#define LOCANT_KERNELS_BAND_TILE_INL_H_
#endif

#include <cstdlib>

#include "kernels/attention_tile_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// Positions that are worked on at once: their vectors stay in the first cache while the strips pass by.
inline constexpr std::int64_t kChunk = kBandPanel;
inline constexpr std::int64_t kChunkRow = kChunk + 16;
/// Rows whose codes differ by no more than this share a register tile.
inline constexpr std::int64_t kMostStep = 4;
/// Runs this close share their products; further apart they have fewer without what lies between.
inline constexpr std::int64_t kMostGap = kTileRows + kLanes;
/// Strips whose codes are further apart walk alone.
inline constexpr std::int64_t kMostJump = 256;

/// Further than any two slots are apart.
inline constexpr std::int64_t kFar = std::int64_t{1} << 40;

/// A tile of numbers: rows and columns are slots of the two sides of the codes. 16 floats behind each row may
/// be overwritten.
struct BandTile {
  const BandCodes* codes = nullptr;
  std::int64_t row0 = 0, rows = 0, column0 = 0, columns = 0;
  float* scores = nullptr;
  std::int64_t row = 0;  ///< floats from one row to the next
  /// Pairs that a causal mask leaves: column slot less row slot in [nearest, furthest]. Others need no
  /// numbers, and theirs are zero where they are summed.
  std::int64_t nearest = -kFar, furthest = kFar;

  const std::int32_t* row_code() const { return codes->row_code.data() + row0; }
};

/// Rows of a tile are the queries of a block, or its keys.
inline constexpr std::int64_t kMaxTileRows = std::max(kMaxQueryBlock, kMaxKeyBlock);

/// Rows of a tile that share a register tile; lowest and highest code.
struct Strip {
  std::int64_t row, rows, low, high;
};

/// At most one for each row of the tile.
struct Strips {
  std::array<Strip, kMaxTileRows> strips;
  std::int64_t count = 0;

  explicit Strips(const BandTile& tile) {
    const std::int32_t* code = tile.row_code();
    for (std::int64_t r = 0; r < tile.rows;) {
      std::int64_t end = r + 1;
      while (end < tile.rows && std::abs(std::int64_t{code[end]} - code[end - 1]) <= kMostStep) ++end;
      const std::int64_t pieces = ceil_div(end - r, kTileRows);
      const std::int64_t least = (end - r) / pieces, longer = (end - r) % pieces;
      for (std::int64_t piece = 0; piece < pieces; ++piece) {
        const std::int64_t rows = piece < longer ? least + 1 : least;
        const auto [low, high] = std::minmax_element(code + r, code + r + rows);
        strips[static_cast<std::size_t>(count++)] = {r, rows, *low, *high};
        r += rows;
      }
    }
  }
  const Strip& operator[](std::int64_t s) const { return strips[static_cast<std::size_t>(s)]; }
};

/// Runs that are near each other, cut to the tile's columns: codes [low, high).
struct Span {
  const CodeRun *begin, *end;
  std::int64_t low, high;
};

/// Calls body(span) for the tile's columns from left to right.
template <class Body>
HWY_INLINE void for_spans(const BandTile& tile, const Body& body) {
  const CodeRun* last = tile.codes->runs.data() + tile.codes->runs.size();
  const std::int64_t end = tile.column0 + tile.columns;
  for (const CodeRun* run = first_run(tile.codes->runs, tile.column0); run != last && run->slot < end;) {
    Span span{run, run + 1, run->code + std::max<std::int64_t>(tile.column0 - run->slot, 0), 0};
    const auto end_code = [](const CodeRun& x) { return std::int64_t{x.code} + x.count; };
    for (; span.end != last && span.end->slot < end; ++span.end) {
      const std::int64_t gap = span.end->code - end_code(span.end[-1]);
      if (gap < 0 || gap > kMostGap) break;
    }
    const CodeRun& right = span.end[-1];
    span.high = std::min(end_code(right), right.code + (end - right.slot));
    body(span);
    run = span.end;
  }
}

/// Calls body(code, column, count) for each part of the span with codes in [low, high), ascending; column is
/// counted from the tile's first.
template <class Body>
HWY_INLINE void for_pieces(const BandTile& tile, const Span& span, std::int64_t low, std::int64_t high,
                           const Body& body) {
  const CodeRun* run = span.begin;
  if (span.end - span.begin > 8)
    run = std::lower_bound(span.begin, span.end, low, [](const CodeRun& x, std::int64_t code) {
      return std::int64_t{x.code} + x.count <= code;
    });
  low = std::max(low, span.low);
  high = std::min(high, span.high);
  for (; run != span.end && run->code < high; ++run) {
    const std::int64_t begin = std::max<std::int64_t>(low, run->code);
    const std::int64_t end = std::min<std::int64_t>(high, std::int64_t{run->code} + run->count);
    if (begin < end) body(begin, run->slot + (begin - run->code) - tile.column0, end - begin);
  }
}

/// Calls body(span, chunk, first strip, end strip) for the chunks of positions [chunk, chunk + kChunk) that
/// the tile touches; for each row they come in the order of its columns.
template <class Body>
HWY_INLINE void for_chunks(const BandTile& tile, const Strips& strips, const Body& body) {
  const std::int64_t shift = tile.codes->shift;
  for (std::int64_t first = 0, end = 0; first < strips.count; first = end) {
    std::int64_t low = strips[first].low, high = strips[first].high;
    for (end = first + 1; end < strips.count; ++end) {
      if (std::abs(strips[end].low - strips[end - 1].low) > kMostJump) break;
      low = std::min(low, strips[end].low);
      high = std::max(high, strips[end].high);
    }
    for_spans(tile, [&](const Span& span) HWY_ATTR {
      const std::int64_t last = span.high - low + shift;
      for (std::int64_t chunk = (span.low - high + shift) / kChunk * kChunk; chunk < last; chunk += kChunk)
        body(span, chunk, first, end);
    });
  }
}

/// Positions of the chunk that a strip touches. Only in a span of one run do slots tell which codes a causal
/// mask leaves.
struct Window {
  std::int64_t begin, end;
};
HWY_INLINE Window window_of(const BandTile& tile, const Span& span, const Strip& strip, std::int64_t chunk) {
  const std::int64_t shift = tile.codes->shift;
  std::int64_t low = span.low, high = span.high;
  if (span.end - span.begin == 1) {
    const std::int64_t slot = tile.row0 + strip.row, code = span.begin->code - span.begin->slot;
    low = std::max(low, slot + tile.nearest + code);
    high = std::min(high, slot + strip.rows + tile.furthest + code);
  }
  return {std::max(chunk, low - strip.high + shift), std::min(chunk + kChunk, high - strip.low + shift)};
}

/// Four floats from column c on of every fourth row, from row m on, side by side.
HWY_INLINE Vec load_blocks(const std::array<const float*, static_cast<std::size_t>(kLanes)>& rows,
                           std::size_t m, std::int64_t c) {
#if HWY_TARGET == HWY_AVX3
  __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(rows[m] + c));
  v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[m + 4] + c), 1);
  v = _mm512_insertf32x4(v, _mm_loadu_ps(rows[m + 8] + c), 2);
  return Vec{_mm512_insertf32x4(v, _mm_loadu_ps(rows[m + 12] + c), 3)};
#elif HWY_TARGET == HWY_AVX2
  const __m256 v = _mm256_castps128_ps256(_mm_loadu_ps(rows[m] + c));
  return Vec{_mm256_insertf128_ps(v, _mm_loadu_ps(rows[m + 4] + c), 1)};
#else
  return hn::LoadU(Floats(), rows[m] + c);
#endif
}

/// Columns c to c + 3 of kLanes rows as four vectors.
HWY_INLINE std::array<Vec, 4> transpose_rows(
    const std::array<const float*, static_cast<std::size_t>(kLanes)>& rows, std::int64_t c) {
  const Floats d;
  const hn::Repartition<double, Floats> pairs;
  const Vec r0 = load_blocks(rows, 0, c), r1 = load_blocks(rows, 1, c);
  const Vec r2 = load_blocks(rows, 2, c), r3 = load_blocks(rows, 3, c);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  return {hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)),
          hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)),
          hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)),
          hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23))};
}

/// to[c][r] = or += from[r][c]. Rows of `from` may be read 3 floats too far; rows of `to` start on lines, and
/// when not added to are written up to whole vectors.
template <bool kAdd>
inline void transpose(const float* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns,
                      float* to, std::int64_t to_row) {
  const Floats d;
  std::array<const float*, static_cast<std::size_t>(kLanes)> at;
  for (std::int64_t r = 0; r < rows; r += kLanes) {
    for (std::int64_t x = 0; x < kLanes; ++x)
      at[static_cast<std::size_t>(x)] = from + std::min(r + x, rows - 1) * from_row;
    const auto inside = hn::FirstN(d, static_cast<std::size_t>(std::min(kLanes, rows - r)));
    for (std::int64_t c = 0; c < columns; c += 4) {
      const std::array<Vec, 4> turned = transpose_rows(at, c);
      for (std::int64_t x = 0; x < std::min<std::int64_t>(4, columns - c); ++x) {
        float* row = to + (c + x) * to_row + r;
        const Vec v = hn::IfThenElseZero(inside, turned[static_cast<std::size_t>(x)]);
        hn::Store(kAdd ? hn::Add(hn::Load(d, row), v) : v, d, row);
      }
    }
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
