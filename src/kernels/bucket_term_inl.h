// Compiled once per instruction set: bucket terms (contextual iRPE and kin) of a block of scores, and their
// gradients.
#if defined(LOCANT_KERNELS_BUCKET_TERM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOCANT_KERNELS_BUCKET_TERM_INL_H_
#undef LOCANT_KERNELS_BUCKET_TERM_INL_H_
#else
#define LOCANT_KERNELS_BUCKET_TERM_INL_H_
#endif

#include "kernels/score_block_inl.h"

HWY_BEFORE_NAMESPACE();
namespace locant::fused::HWY_NAMESPACE {

using IntVec = hn::Vec<Ints>;

/// Numbers of a packed row by index: any row.
struct GatherLookup {
  const float* row;

  explicit GatherLookup(const float* packed) : row(packed) {}
  HWY_INLINE Vec operator()(IntVec index) const { return hn::GatherIndex(Floats(), row, index); }
};

#if HWY_TARGET == HWY_AVX3
/// A row of 32 * kPairs numbers in registers: a permutation of two of them is one instruction.
template <int kPairs>
struct RegisterLookup {
  Vec parts[2 * kPairs];

  HWY_INLINE explicit RegisterLookup(const float* packed) {
    for (std::int64_t x = 0; x < 2 * kPairs; ++x) parts[x] = hn::Load(Floats(), packed + x * kLanes);
  }
  HWY_INLINE Vec operator()(IntVec index) const {
    const __m512 low = _mm512_permutex2var_ps(parts[0].raw, index.raw, parts[1].raw);
    if constexpr (kPairs == 1) {
      return Vec{low};
    } else {
      const __m512 high = _mm512_permutex2var_ps(parts[2].raw, index.raw, parts[3].raw);
      const __mmask16 upper = _mm512_test_epi32_mask(index.raw, _mm512_set1_epi32(32));
      return Vec{_mm512_mask_blend_ps(upper, low, high)};
    }
  }
};
inline constexpr std::int64_t kSmallRow = 32, kLargeRow = 64;
using SmallLookup = RegisterLookup<1>;
using LargeLookup = RegisterLookup<2>;
#elif HWY_TARGET == HWY_AVX2
/// A row of 8 * 2^kBits numbers in registers: permutations of each, of which bits 3 and up of the index
/// choose.
template <int kBits>
struct RegisterLookup {
  Vec parts[1 << kBits];

  HWY_INLINE explicit RegisterLookup(const float* packed) {
    for (std::int64_t x = 0; x < 1 << kBits; ++x) parts[x] = hn::Load(Floats(), packed + x * kLanes);
  }
  HWY_INLINE Vec operator()(IntVec index) const {
    __m256 found[1 << kBits];
    for (int x = 0; x < 1 << kBits; ++x) found[x] = _mm256_permutevar8x32_ps(parts[x].raw, index.raw);
    // A blend looks at the sign: bit 3 goes there first, then 4 and 5.
    for (int left = 1 << kBits, shift = 28; left > 1; left /= 2, --shift) {
      const __m256 bit = _mm256_castsi256_ps(_mm256_slli_epi32(index.raw, shift));
      for (int x = 0; x < left / 2; ++x) found[x] = _mm256_blendv_ps(found[2 * x], found[2 * x + 1], bit);
    }
    return Vec{found[0]};
  }
};
inline constexpr std::int64_t kSmallRow = 32, kLargeRow = 64;
using SmallLookup = RegisterLookup<2>;
using LargeLookup = RegisterLookup<3>;
#else
inline constexpr std::int64_t kSmallRow = 0, kLargeRow = 0;
using SmallLookup = GatherLookup;
using LargeLookup = GatherLookup;
#endif

/// A bucket term's numbers of token row `row` of the block's batch and head.
HWY_INLINE std::int64_t bucket_place(const BucketTerm& bucket, const Block& block, std::int64_t row) {
  return block.b * bucket.batch_stride + row * bucket.row_stride + block.h * bucket.head_stride;
}

/// A row of numbers times log2 e * head_scale, and zeros behind it for pairs that read nothing.
HWY_INLINE void pack_bucket(const LooseTerm& loose, const Block& block, std::int64_t row, float* to) {
  const auto& bucket = std::get<BucketTerm>(loose.term->term);
  const std::int64_t width = loose.bucket.width;
  const float factor = kLog2e * head_scale(*loose.term, block.h);
  copy_scaled(bucket.table + bucket_place(bucket, block, row), factor, width, to);
  const std::int64_t written = ceil_div(width, kLanes) * kLanes;
  std::fill(to + written, to + loose.bucket.padded(), 0.0f);
}

/// The block as the slots that a bucket term's rows belong to see it: their runs are of the others.
HWY_INLINE Block turned(const Block& block) {
  Block other = block;
  other.j0 = block.i0;
  other.keys = block.rows;
  return other;
}

/// One row's numbers for the slots [block.j0, block.j0 + block.keys) of the other side.
template <bool kAdd, class Lookup>
HWY_INLINE void write_bucket_row(const BucketTable& table, const CodeRun* run, const Block& block,
                                 std::int32_t code, const float* packed, float* to) {
  const Ints di;
  const Lookup lookup(packed);
  const std::int32_t* indices = table.indices.data() + (table.shift - code);
  for_runs(run, table.runs, block.j0, block.keys,
           [&](std::int64_t other, std::int64_t column, std::int64_t count) HWY_ATTR {
             write_run<kAdd>(to + column, count, [&](std::int64_t c) HWY_ATTR {
               return lookup(hn::LoadU(di, indices + other + c));
             });
           });
}

template <bool kAdd, class Lookup>
inline void write_query_buckets(const Plan& plan, const LooseTerm& loose, const Block& block) {
  const auto& bucket = std::get<BucketTerm>(loose.term->term);
  const std::int64_t padded = loose.bucket.padded();
  float* packed = block.spare + loose.scratch;
  for (std::int64_t r = 0; block.first && r < block.rows; ++r) {
    const std::int64_t row = query_row(*plan.args, block, block.i0 + r);
    if (row >= 0) {
      pack_bucket(loose, block, row, packed + r * padded);
    } else {
      std::fill_n(packed + r * padded, padded, 0.0f);
    }
  }
  const CodeRun* run = first_run(loose.bucket.runs, block.j0);
  for (std::int64_t r = 0; r < block.rows; ++r)
    write_bucket_row<kAdd, Lookup>(loose.bucket, run, block, bucket.offset.query_code[block.i0 + r],
                                   packed + r * padded, block.scores + r * block.row);
}

/// Keys whose columns are made side by side, then turned.
inline constexpr std::int64_t kStrip = 16;

/// Turns 4 x 4 numbers: to[y * to_row + x] = or += from[x * from_row + y], for y < rows.
template <bool kAdd>
HWY_INLINE void turn_4x4(const float* from, std::int64_t from_row, std::int64_t rows, std::int64_t to_row,
                         float* to) {
  const hn::FixedTag<float, 4> d;
  const hn::FixedTag<double, 2> pairs;
  const auto r0 = hn::LoadU(d, from), r1 = hn::LoadU(d, from + from_row);
  const auto r2 = hn::LoadU(d, from + 2 * from_row), r3 = hn::LoadU(d, from + 3 * from_row);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  const auto store = [&](std::int64_t y, auto v) HWY_ATTR {
    auto x = hn::BitCast(d, v);
    if (kAdd) x = hn::Add(x, hn::LoadU(d, to + y * to_row));
    hn::StoreU(x, d, to + y * to_row);
  };
  store(0, hn::InterleaveLower(pairs, low01, low23));
  if (rows > 1) store(1, hn::InterleaveUpper(pairs, low01, low23));
  if (rows > 2) store(2, hn::InterleaveLower(pairs, high01, high23));
  if (rows > 3) store(3, hn::InterleaveUpper(pairs, high01, high23));
}

/// to (rows, columns) = or += the transpose of from (columns, rows); columns in fours, and rows of `from` may
/// be read up to the next four.
template <bool kAdd>
HWY_INLINE void turn(const float* from, std::int64_t from_row, std::int64_t rows, std::int64_t columns,
                     std::int64_t to_row, float* to) {
  const std::int64_t whole = rows / 4 * 4;
  for (std::int64_t r = 0; r < whole; r += 4)
    for (std::int64_t c = 0; c < columns; c += 4)
      turn_4x4<kAdd>(from + c * from_row + r, from_row, 4, to_row, to + r * to_row + c);
  for (std::int64_t c = 0; whole < rows && c < columns; c += 4)
    turn_4x4<kAdd>(from + c * from_row + whole, from_row, rows - whole, to_row, to + whole * to_row + c);
}

/// Asks for a key's numbers, far from its neighbours', before they are needed.
HWY_INLINE void prefetch_bucket(const Plan& plan, const BucketTerm& bucket, const Block& block,
                                std::int64_t j) {
  const std::int64_t row = j < plan.args->Nk ? key_row(*plan.args, block, j) : -1;
  if (row < 0) return;
  const float* from = bucket.table + bucket_place(bucket, block, row);
  for (std::int64_t c = 0; c < bucket.offset.table_rows; c += 16) __builtin_prefetch(from + c, 0, 3);
}

template <bool kAdd, class Lookup>
inline void write_key_buckets(const Plan& plan, const LooseTerm& loose, const Block& block) {
  const auto& bucket = std::get<BucketTerm>(loose.term->term);
  float* packed = block.spare + loose.scratch;
  float* strip = packed + loose.bucket.padded();
  const std::int64_t strip_row = bucket_strip_row(plan.query_block);
  const Block other = turned(block);
  const CodeRun* run = first_run(loose.bucket.runs, other.j0);
  for (std::int64_t c0 = 0; c0 < block.keys; c0 += kStrip) {
    for (std::int64_t x = 0; x < kStrip; ++x) {
      float* to = strip + x * strip_row;
      const std::int64_t j = block.j0 + c0 + x;
      const std::int64_t row = c0 + x < block.keys ? key_row(*plan.args, block, j) : -1;
      if (row < 0) {
        std::fill_n(to, block.rows, 0.0f);
        continue;
      }
      prefetch_bucket(plan, bucket, block, j + kStrip);
      pack_bucket(loose, block, row, packed);
      write_bucket_row<false, Lookup>(loose.bucket, run, other, bucket.offset.key_code[j], packed, to);
    }
    turn<kAdd>(strip, strip_row, block.rows, kStrip, block.row, block.scores + c0);
  }
}

template <bool kAdd, class Lookup>
inline void write_bucket_by(const Plan& plan, const LooseTerm& loose, const Block& block) {
  if (std::get<BucketTerm>(loose.term->term).side == Side::query) {
    write_query_buckets<kAdd, Lookup>(plan, loose, block);
  } else {
    write_key_buckets<kAdd, Lookup>(plan, loose, block);
  }
}

/// scores = or += log2 e * head_scale * table[row, index]
template <bool kAdd>
inline void write_bucket(const Plan& plan, const LooseTerm& loose, const Block& block) {
  const std::int64_t padded = loose.bucket.padded();
  if (padded <= kSmallRow) return write_bucket_by<kAdd, SmallLookup>(plan, loose, block);
  if (padded <= kLargeRow) return write_bucket_by<kAdd, LargeLookup>(plan, loose, block);
  write_bucket_by<kAdd, GatherLookup>(plan, loose, block);
}

/// Copies of a row of sums: neighbouring slots often add to one number, and would wait for each other.
inline constexpr std::int64_t kCopies = 4;

/// sums (padded) = the row's dS by index. Scratch: kCopies * padded.
HWY_INLINE void sum_bucket_row(const BucketTable& table, const Block& block, std::int32_t code,
                               const float* ds, float* sums) {
  const std::int64_t padded = table.padded();
  std::fill_n(sums, kCopies * padded, 0.0f);
  const std::int32_t* indices = table.indices.data() + (table.shift - code);
  for_runs(table.runs, block, [&](std::int64_t other, std::int64_t column, std::int64_t count) HWY_ATTR {
    const std::int32_t* index = indices + other;
    const float* from = ds + column;
    std::int64_t c = 0;
    for (; c + kCopies <= count; c += kCopies)
      for (std::int64_t x = 0; x < kCopies; ++x) sums[x * padded + index[c + x]] += from[c + x];
    for (; c < count; ++c) sums[(c % kCopies) * padded + index[c]] += from[c];
  });
  for (std::int64_t x = 1; x < kCopies; ++x) add_scaled(sums + x * padded, 1.0f, padded, sums);
}

/// Adds a row's sums to its gradient, and to that of the head scale.
HWY_INLINE void add_bucket_sums(const LooseTerm& loose, const Block& block, std::int64_t row,
                                const float* sums, float* drow, float* dhead_scale) {
  const auto& bucket = std::get<BucketTerm>(loose.term->term);
  if (drow != nullptr) add_scaled(sums, head_scale(*loose.term, block.h), loose.bucket.width, drow);
  if (dhead_scale == nullptr) return;
  const float* numbers = bucket.table + bucket_place(bucket, block, row);
  float dscale = 0.0f;
  for (std::int64_t c = 0; c < loose.bucket.width; ++c) dscale += sums[c] * numbers[c];
  dhead_scale[block.h] += dscale;
}

/// The gradients of the table and of the head scale; the block holds dS.
inline void add_bucket_grad(const Plan& plan, const LooseTerm& loose, const RowGrad& grad, float* dhead_scale,
                            const Block& block) {
  if (grad.data == nullptr && dhead_scale == nullptr) return;
  const auto& bucket = std::get<BucketTerm>(loose.term->term);
  const AttentionArgs& a = *plan.args;
  float* sums = block.spare + loose.scratch;
  if (bucket.side == Side::query) {
    for (std::int64_t r = 0; r < block.rows; ++r) {
      const std::int64_t i = block.i0 + r, row = query_row(a, block, i);
      if (row < 0) continue;
      sum_bucket_row(loose.bucket, block, bucket.offset.query_code[i], block.scores + r * block.row, sums);
      add_bucket_sums(loose, block, row, sums, grad_row(grad, block, a.Nq, i, row), dhead_scale);
    }
    return;
  }
  float* strip = sums + kCopies * loose.bucket.padded();
  const std::int64_t strip_row = bucket_strip_row(plan.query_block);
  const Block other = turned(block);
  for (std::int64_t c0 = 0; c0 < block.keys; c0 += kStrip) {
    const std::int64_t columns = std::min(kStrip, block.keys - c0);
    turn<false>(block.scores + c0, block.row, columns, (block.rows + 3) / 4 * 4, strip_row, strip);
    for (std::int64_t x = 0; x < columns; ++x) {
      const std::int64_t j = block.j0 + c0 + x, row = key_row(a, block, j);
      if (row < 0) continue;
      sum_bucket_row(loose.bucket, other, bucket.offset.key_code[j], strip + x * strip_row, sums);
      add_bucket_sums(loose, block, row, sums, grad_row(grad, block, a.Nk, j, row), dhead_scale);
    }
  }
}

}  // namespace locant::fused::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
