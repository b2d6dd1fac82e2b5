// Compiled once per instruction set: products with bands of vectors, position by position, and their
// gradients.
//
// A tile of rows a_r and columns c adds a_r . vectors[position(r, c)]. Per chunk of positions and strip of
// rows one register tile makes a_r . vectors[p]; each row then adds its pieces of it to its columns. Back,
// rows of dS are sheared into their positions; products with the vectors and with the a_r sum both gradients.
#if defined(LOCANT_KERNELS_BAND_TERM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_BAND_TERM_INL_H_
#undef LOCANT_KERNELS_BAND_TERM_INL_H_
#else
#define LOCANT_KERNELS_BAND_TERM_INL_H_
#endif

#include "kernels/band_tile_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

/// to[0..count) = or += from[0..count). May read and write up to a whole vector: what is added there is zero,
/// what is stored there is of no meaning.
template <bool kAdd>
HWY_INLINE void put_piece(const float* from, std::int64_t count, float* to) {
  const Floats d;
  std::int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) {
    const Vec v = hn::LoadU(d, from + c);
    hn::StoreU(kAdd ? hn::Add(v, hn::LoadU(d, to + c)) : v, d, to + c);
  }
  if (c == count) return;
  Vec v = hn::LoadU(d, from + c);
  if (kAdd) v = hn::IfThenElseZero(hn::FirstN(d, static_cast<std::size_t>(count - c)), v);
  hn::StoreU(kAdd ? hn::Add(v, hn::LoadU(d, to + c)) : v, d, to + c);
}

/// So few rows take four vectors at once in any instruction set: with two their sums would wait for each
/// other.
inline constexpr std::int64_t kFewRows = 3;

HWY_INLINE TileFunction few_row_tile(std::int64_t rows, std::int64_t vectors) {
#if HWY_TARGET != HWY_AVX3
  static constexpr std::array<std::array<TileFunction, kFewRows>, 2> kWide = {{
      {multiply_tile<1, 3>, multiply_tile<2, 3>, multiply_tile<3, 3>},
      {multiply_tile<1, 4>, multiply_tile<2, 4>, multiply_tile<3, 4>},
  }};
  if (vectors > kTileVectors)
    return kWide[static_cast<std::size_t>(vectors - 3)][static_cast<std::size_t>(rows - 1)];
#endif
  return kTiles[static_cast<std::size_t>(vectors - 1)][static_cast<std::size_t>(rows - 1)];
}

/// to (rows, kChunkRow): rows of `a` times the vectors of positions window, at their place in the chunk.
HWY_INLINE void strip_products(const BandTable& table, const float* columns, const float* a,
                               std::int64_t rows, std::int64_t chunk, const Window& window, float* to) {
  Product p{.rows = rows, .vectors = 0, .depth = table.width};
  p.a_row = table.padded;
  p.a_step = 1;
  p.b_step = kBandPanel;
  p.c_row = kChunkRow;
  const float* b = columns + chunk * table.width;
  const std::int64_t end = ceil_div(window.end - chunk, kLanes);
  for (std::int64_t v = (window.begin - chunk) / kLanes; v < end;) {
    const std::int64_t count = std::min(kTileVectors, end - v);
    kTiles[static_cast<std::size_t>(count - 1)][static_cast<std::size_t>(rows - 1)](p, a, b + v * kLanes,
                                                                                    kZeros, to + v * kLanes);
    v += count;
  }
}

/// True when a tile of two grids is worked on by columns: slots above each other share vectors, all of a row
/// of the other grid, whereas slots beside each other want a few more. Needs windows that lie in one panel.
HWY_INLINE bool goes_by_columns(const BandTile& tile) {
  const BandCodes& codes = *tile.codes;
  return codes.step > 0 && codes.step <= kBandPanel && tile.rows > codes.row_length;
}

/// to (rows, kChunkRow) = rows of `a`, a_row apart, times the vectors of positions [start, start + count).
HWY_INLINE void column_products(const BandTable& table, const float* columns, const float* a,
                                std::int64_t a_row, std::int64_t rows, std::int64_t start, std::int64_t count,
                                float* to) {
  Product p{.rows = rows, .vectors = 0, .depth = table.width};
  p.a_row = a_row;
  p.a_step = 1;
  p.b_step = kBandPanel;
  p.c_row = kChunkRow;
  const float* b = columns + start / kBandPanel * kBandPanel * table.width + start % kBandPanel;
  const std::int64_t end = ceil_div(count, kLanes);
  for (std::int64_t v = 0; v < end;) {
    const std::int64_t most = rows <= kFewRows ? 4 : kTileVectors;
    const std::int64_t vectors = std::min(most, end - v);
    few_row_tile(rows, vectors)(p, a, b + v * kLanes, kZeros, to + v * kLanes);
    v += vectors;
  }
}

/// put_band for goes_by_columns. Rows of the grids are `down` apart: row y of the tile's side meets row y +
/// down.
template <bool kAdd>
inline void put_grid(const BandTable& table, const float* columns, const BandTile& tile, const float* a,
                     float* strip) {
  const BandCodes& codes = *tile.codes;
  const std::int64_t L = codes.row_length, C = codes.column_length, row_end = tile.row0 + tile.rows;
  const std::int64_t y0 = tile.row0 / L, y1 = (row_end - 1) / L;
  const std::int64_t m0 = tile.column0 / C, m1 = (tile.column0 + tile.columns - 1) / C;
  for (std::int64_t down = m0 - y1; down <= m1 - y0; ++down)
    for (std::int64_t x = 0; x < L; ++x) {
      std::int64_t y = std::max(y0, m0 - down), end = std::min(y1, m1 - down) + 1;
      if (y * L + x < tile.row0) ++y;
      if ((end - 1) * L + x >= row_end) --end;
      for (std::int64_t rows = 0; y < end; y += rows) {
        rows = std::min(kTileRows, end - y);
        const std::int64_t r = y * L + x - tile.row0;
        column_products(table, columns, a + r * table.padded, L * table.padded, rows,
                        down * codes.step + codes.shift - x, C, strip);
        for (std::int64_t n = 0; n < rows; ++n) {
          const std::int64_t column = (y + n + down) * C - tile.column0;
          const std::int64_t first = std::max<std::int64_t>(-column, 0);
          put_piece<kAdd>(strip + n * kChunkRow + first, std::min(C, tile.columns - column) - first,
                          tile.scores + (r + n * L) * tile.row + column + first);
        }
      }
    }
}

/// tile = or += a_r . vectors[position(r, c)]; `columns` are the head's packed vectors, `a` (rows, padded),
/// `strip` has room for 2 * kTileRows * kChunkRow.
template <bool kAdd>
inline void put_band(const BandTable& table, const float* columns, const BandTile& tile, const float* a,
                     float* strip) {
  if (goes_by_columns(tile)) {
    put_grid<kAdd>(table, columns, tile, a, strip);
    return;
  }
  const Strips strips(tile);
  const std::int32_t* code = tile.row_code();
  const std::int64_t shift = tile.codes->shift;
  // What has just been stored is slow to read at other addresses: a strip's products are put while those of
  // the next are on their way.
  float* other = strip + kTileRows * kChunkRow;
  for_chunks(tile, strips,
             [&](const Span& span, std::int64_t chunk, std::int64_t s, std::int64_t end) HWY_ATTR {
               Strip made{};  // its products wait in `other`
               Window window{0, 0};
               const auto put = [&]() HWY_ATTR {
                 for (std::int64_t r = 0; r < made.rows; ++r) {
                   const std::int64_t base = shift - code[made.row + r];  // position of a column code
                   const float* from = other + r * kChunkRow + base - chunk;
                   float* to = tile.scores + (made.row + r) * tile.row;
                   for_pieces(tile, span, window.begin - base, window.end - base,
                              [&](std::int64_t at, std::int64_t column, std::int64_t count)
                                  HWY_ATTR { put_piece<kAdd>(from + at, count, to + column); });
                 }
               };
               for (; s < end; ++s) {
                 const Window next = window_of(tile, span, strips[s], chunk);
                 if (next.begin >= next.end) continue;
                 strip_products(table, columns, a + strips[s].row * table.padded, strips[s].rows, chunk, next,
                                strip);
                 put();
                 made = strips[s], window = next;
                 std::swap(strip, other);
               }
               put();
             });
}

/// Rows of the strip by position of the chunk; zero where a row has no column. `to` (rows, kChunkRow).
HWY_INLINE void shear_strip(const BandTile& tile, const Span& span, const Strip& strip, std::int64_t chunk,
                            const Window& window, float* to) {
  const Floats d;
  const std::int32_t* code = tile.row_code() + strip.row;
  for (std::int64_t r = 0; r < strip.rows; ++r, to += kChunkRow) {
    const std::int64_t first = (window.begin - chunk) / kLanes * kLanes;
    for (std::int64_t c = first; c < window.end - chunk; c += kLanes) hn::Store(hn::Zero(d), d, to + c);
    const std::int64_t base = tile.codes->shift - code[r];
    const float* from = tile.scores + (strip.row + r) * tile.row;
    float* row = to + base - chunk;
    for_pieces(tile, span, window.begin - base, window.end - base,
               [&](std::int64_t at, std::int64_t column, std::int64_t count) HWY_ATTR {
                 std::int64_t c = 0;
                 for (; c + kLanes <= count; c += kLanes)
                   hn::StoreU(hn::LoadU(d, from + column + c), d, row + at + c);
                 if (c == count) return;
                 const auto inside = hn::FirstN(d, static_cast<std::size_t>(count - c));
                 hn::StoreU(hn::IfThenElseZero(inside, hn::LoadU(d, from + column + c)), d, row + at + c);
               });
  }
}

/// dvectors[position] += sum over rows of sheared (rows, kChunkRow) times a, for the chunk's positions. Six
/// positions at a time: strips without any of them are left out.
inline void add_vector_grads(const BandTable& table, const BandTile& tile, const Strips& strips,
                             const Span& span, std::int64_t chunk, std::int64_t first, std::int64_t last,
                             const float* sheared, const float* a, float* dvectors) {
  Product p{.rows = 0, .vectors = table.padded / kLanes, .depth = 0};
  p.a_row = 1;
  p.a_step = kChunkRow;
  p.b_step = p.init_row = p.c_row = table.padded;
  p.b_panel = p.init_panel = kPanel;
  const std::int64_t positions = std::min(kChunk, table.packed - chunk);
  for (std::int64_t x = 0; x < positions; x += kTileRows) {
    p.rows = std::min(kTileRows, positions - x);
    p.c = dvectors + (chunk + x) * table.padded;
    p.init = p.c;
    std::int64_t begin = 0, end = 0;
    const auto flush = [&]() HWY_ATTR {
      p.depth = end - begin;
      p.a = sheared + begin * kChunkRow + x;
      p.b = a + begin * table.padded;
      if (p.depth > 0) multiply(p);
    };
    for (std::int64_t s = first; s < last; ++s) {
      const Window window = window_of(tile, span, strips[s], chunk);
      if (window.begin >= chunk + x + p.rows || window.end <= chunk + x || window.begin >= window.end)
        continue;
      if (strips[s].row != end) {
        flush();
        begin = strips[s].row;
      }
      end = strips[s].row + strips[s].rows;
    }
    flush();
  }
}

/// With `rows` the head's packed vectors, of numbers n(r, c) of the tile: da_r += sum_c n vectors[position],
/// where da (rows, padded) is given, and dvectors[position] += sum n a_r, where dvectors (packed, padded) is
/// given. `sheared` has room for rows * kChunkRow.
inline void sum_band(const BandTable& table, const float* rows, const BandTile& tile, const float* a,
                     float* da, float* dvectors, float* sheared) {
  const Strips strips(tile);
  for_chunks(
      tile, strips,
      [&](const Span& span, std::int64_t chunk, std::int64_t first, std::int64_t last) HWY_ATTR {
        for (std::int64_t s = first; s < last; ++s) {
          const Strip& strip = strips[s];
          const Window window = window_of(tile, span, strip, chunk);
          if (window.begin >= window.end) continue;
          // Positions are summed up by six: a strip may be met that far beyond its own.
          Window cleared = window;
          if (dvectors != nullptr)
            cleared = {std::max(chunk, window.begin - kTileRows + 1),
                       std::min(chunk + kChunk, window.end + kTileRows - 1)};
          float* to = sheared + strip.row * kChunkRow;
          shear_strip(tile, span, strip, chunk, cleared, to);
          if (da == nullptr) continue;
          Product p{.rows = strip.rows, .vectors = table.padded / kLanes, .depth = window.end - window.begin};
          p.a = to + (window.begin - chunk);
          p.a_row = kChunkRow;
          p.a_step = 1;
          p.b = rows + window.begin * table.padded;
          p.b_step = p.init_row = p.c_row = table.padded;
          p.b_panel = p.init_panel = kPanel;
          p.c = da + strip.row * table.padded;
          p.init = p.c;
          multiply(p);
        }
        if (dvectors != nullptr)
          add_vector_grads(table, tile, strips, span, chunk, first, last, sheared, a, dvectors);
      });
}

/// Panel `panel` of head h: its vectors as columns and as rows, where these are given for the head.
inline void pack_panel(const BandTable& table, std::int64_t h, std::int64_t panel, float* head_columns,
                       float* head_rows) {
  const Floats d;
  constexpr std::int64_t kSoon = 16;
  const float factor = table.factor * table.scale_of(h);
  const std::int64_t width = table.width, x0 = panel * kBandPanel;
  float* columns = head_columns == nullptr ? nullptr : head_columns + panel * width * kBandPanel;
  for (std::int64_t x = 0; x < kBandPanel; x += 4) {
    std::array<const float*, 4> from;
    for (std::int64_t y = 0; y < 4; ++y) {
      const std::int64_t at = x0 + x + y;
      // Vectors of a head lie far apart: no prefetcher sees the next ones coming.
      if (const float* soon = at + kSoon < table.packed ? table.vector(at + kSoon, h) : nullptr;
          soon != nullptr)
        for (std::int64_t c = 0; c < width; c += 16) __builtin_prefetch(soon + c);
      const float* vector = at < table.packed ? table.vector(at, h) : nullptr;
      from[static_cast<std::size_t>(y)] = vector != nullptr ? vector : kZeros;
      if (head_rows == nullptr || at >= table.packed) continue;
      float* row = head_rows + at * table.padded;
      const float* values = from[static_cast<std::size_t>(y)];
      for (std::int64_t c = 0; c < table.padded; ++c) row[c] = c < width ? factor * values[c] : 0.0f;
    }
    if (columns == nullptr) continue;
    std::int64_t c = 0;
    for (; c + 4 <= width; c += 4) transpose_4x4<kBandPanel>(from, c, columns + c * kBandPanel + x);
    for (; c < width; ++c)
      for (std::size_t y = 0; y < 4; ++y)
        columns[c * kBandPanel + x + static_cast<std::int64_t>(y)] = from[y][c];
  }
  for (std::int64_t x = 0; columns != nullptr && factor != 1.0f && x < width * kBandPanel; x += kLanes)
    hn::Store(hn::Mul(hn::Set(d, factor), hn::Load(d, columns + x)), d, columns + x);
}

/// Fills panels [begin, end) of the plan's tables, counted over tables, heads and panels.
inline void pack_bands(const Plan& plan, std::int64_t begin, std::int64_t end) {
  const auto pack = [&](const BandTable& table) HWY_ATTR {
    const std::int64_t count = table.heads * table.panels;
    for (std::int64_t item = std::max<std::int64_t>(begin, 0); item < std::min(end, count); ++item) {
      const std::int64_t slot = item / table.panels;
      pack_panel(table, slot, item % table.panels,
                 table.as_columns ? table.columns.get() + slot * table.columns_size() : nullptr,
                 table.as_rows ? table.rows.get() + slot * table.rows_size() : nullptr);
    }
    begin -= count;
    end -= count;
  };
  for (const BandTable& table : plan.bands.scores) pack(table);
  for (const BandTable& table : plan.bands.value) pack(table);
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
