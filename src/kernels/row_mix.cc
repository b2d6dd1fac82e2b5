#include "kernels/row_mix.h"

#include <algorithm>

#include "kernels/row_table_inl.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_mix.cc"
// Targets that isa.h has no name for only cost build time.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
#endif
#include <hwy/foreach_target.h>
//
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace locant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using MixTag = hn::ScalableTag<float>;
using MixVector = hn::Vec<MixTag>;
using OneMixTag = hn::CappedTag<float, 1>;

/// Rows by vectors of sums that registers hold: 32 of them, or 16.
#if HWY_TARGET == HWY_AVX3
inline constexpr std::int64_t kMixVectors = 4;
#else
inline constexpr std::int64_t kMixVectors = 2;
#endif
inline constexpr std::int64_t kMixRows = 4;

struct MixArgs {
  const float* a;
  std::int64_t a_row, a_column, M, K;
  const float* x;
  std::int64_t x_row;
  float* y;
  std::int64_t y_row;
};

// Rows m .. m + kRows of y, kVectors vectors from column c on.
template <std::int64_t kRows, std::int64_t kVectors, class D>
HWY_INLINE void mix_tile(D d, const MixArgs& args, std::int64_t m, std::int64_t c) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> sums[kRows][kVectors];
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  for (std::int64_t k = 0; k < args.K; ++k) {
    hn::Vec<D> x[kVectors];
    for (std::int64_t v = 0; v < kVectors; ++v) x[v] = hn::LoadU(d, args.x + k * args.x_row + c + v * lanes);
    for (std::int64_t r = 0; r < kRows; ++r) {
      const hn::Vec<D> a = hn::Set(d, args.a[(m + r) * args.a_row + k * args.a_column]);
      for (std::int64_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(a, x[v], sums[r][v]);
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t v = 0; v < kVectors; ++v)
      hn::StoreU(sums[r][v], d, args.y + (m + r) * args.y_row + c + v * lanes);
}

template <std::int64_t kVectors, class D>
HWY_INLINE void mix_columns(D d, const MixArgs& args, std::int64_t c) {
  std::int64_t m = 0;
  for (; m + kMixRows <= args.M; m += kMixRows) mix_tile<kMixRows, kVectors>(d, args, m, c);
  switch (args.M - m) {
    case 3:
      return mix_tile<3, kVectors>(d, args, m, c);
    case 2:
      return mix_tile<2, kVectors>(d, args, m, c);
    case 1:
      return mix_tile<1, kVectors>(d, args, m, c);
    default:
      return;
  }
}

void mix(const float* a, std::int64_t a_row, std::int64_t a_column, std::int64_t M, std::int64_t K,
         const float* x, std::int64_t x_row, std::int64_t width, float* y, std::int64_t y_row) {
  const MixArgs args{a, a_row, a_column, M, K, x, x_row, y, y_row};
  const MixTag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t c = 0;
  for (; c + kMixVectors * lanes <= width; c += kMixVectors * lanes) mix_columns<kMixVectors>(d, args, c);
  for (; c + lanes <= width; c += lanes) mix_columns<1>(d, args, c);
  for (; c < width; ++c) mix_columns<1>(OneMixTag(), args, c);
}

struct ProductArgs {
  const float* x;
  std::int64_t x_row, x_outer;
  const float* y;
  std::int64_t y_row, y_outer, K, outer, width;
  float* out;
};

// out[m .. m + kRows, k .. k + kColumns].
template <std::int64_t kRows, std::int64_t kColumns>
HWY_INLINE void products_tile(const ProductArgs& args, std::int64_t m, std::int64_t k) {
  const MixTag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  MixVector sums[kRows][kColumns];
  float rest[kRows][kColumns] = {};
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t s = 0; s < kColumns; ++s) sums[r][s] = hn::Zero(d);
  for (std::int64_t o = 0; o < args.outer; ++o) {
    const float* x = args.x + m * args.x_row + o * args.x_outer;
    const float* y = args.y + k * args.y_row + o * args.y_outer;
    std::int64_t c = 0;
    for (; c + lanes <= args.width; c += lanes) {
      MixVector parts[kColumns];
      for (std::int64_t s = 0; s < kColumns; ++s) parts[s] = hn::LoadU(d, y + s * args.y_row + c);
      for (std::int64_t r = 0; r < kRows; ++r) {
        const MixVector part = hn::LoadU(d, x + r * args.x_row + c);
        for (std::int64_t s = 0; s < kColumns; ++s) sums[r][s] = hn::MulAdd(part, parts[s], sums[r][s]);
      }
    }
    for (; c < args.width; ++c)
      for (std::int64_t r = 0; r < kRows; ++r)
        for (std::int64_t s = 0; s < kColumns; ++s)
          rest[r][s] += x[r * args.x_row + c] * y[s * args.y_row + c];
  }
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t s = 0; s < kColumns; ++s)
      args.out[(m + r) * args.K + k + s] = hn::GetLane(hn::SumOfLanes(d, sums[r][s])) + rest[r][s];
}

void products(const float* x, std::int64_t x_row, std::int64_t x_outer, const float* y, std::int64_t y_row,
              std::int64_t y_outer, std::int64_t M, std::int64_t K, std::int64_t outer, std::int64_t width,
              float* out) {
  const ProductArgs args{x, x_row, x_outer, y, y_row, y_outer, K, outer, width, out};
  for (std::int64_t m = 0; m < M;) {
    const bool rows = m + 4 <= M;
    for (std::int64_t k = 0; k < K;) {
      const bool columns = k + 2 <= K;
      if (rows && columns) {
        products_tile<4, 2>(args, m, k);
      } else if (rows) {
        products_tile<4, 1>(args, m, k);
      } else if (columns) {
        products_tile<1, 2>(args, m, k);
      } else {
        products_tile<1, 1>(args, m, k);
      }
      k += columns ? 2 : 1;
    }
    m += rows ? 4 : 1;
  }
}

struct WeighArgs {
  const float* x;
  std::int64_t x_row;
  const std::int64_t* offsets;
  const float* const* weights;
  std::int64_t taps;
  const float* bias;
  std::int64_t width;
  float* y;
  std::int64_t y_row;
};

// Rows i .. i + kRows of y, kVectors vectors from column c on: a tap's weights are read once for all rows.
template <std::int64_t kRows, std::int64_t kVectors, class D>
HWY_INLINE void weigh_tile(D d, const WeighArgs& args, std::int64_t i, std::int64_t c) {
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  hn::Vec<D> sums[kRows][kVectors];
  for (std::int64_t v = 0; v < kVectors; ++v) {
    const auto start = args.bias == nullptr ? hn::Zero(d) : hn::LoadU(d, args.bias + c + v * lanes);
    for (std::int64_t r = 0; r < kRows; ++r) sums[r][v] = start;
  }
  for (std::int64_t t = 0; t < args.taps; ++t) {
    const float* x = args.x + i * args.x_row + args.offsets[t] + c;
    for (std::int64_t v = 0; v < kVectors; ++v) {
      const hn::Vec<D> w = hn::LoadU(d, args.weights[t] + c + v * lanes);
      for (std::int64_t r = 0; r < kRows; ++r)
        sums[r][v] = hn::MulAdd(w, hn::LoadU(d, x + r * args.x_row + v * lanes), sums[r][v]);
    }
  }
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t v = 0; v < kVectors; ++v)
      hn::StoreU(sums[r][v], d, args.y + (i + r) * args.y_row + c + v * lanes);
}

template <std::int64_t kRows>
HWY_INLINE void weigh_rows(const WeighArgs& args, std::int64_t i) {
  const MixTag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t c = 0;
  for (; c + 2 * lanes <= args.width; c += 2 * lanes) weigh_tile<kRows, 2>(d, args, i, c);
  for (; c + lanes <= args.width; c += lanes) weigh_tile<kRows, 1>(d, args, i, c);
  for (; c < args.width; ++c) weigh_tile<kRows, 1>(OneMixTag(), args, i, c);
}

void weigh(const float* x, std::int64_t x_row, const std::int64_t* offsets, const float* const* weights,
           std::int64_t taps, const float* bias, std::int64_t rows, std::int64_t width, float* y,
           std::int64_t y_row) {
  const WeighArgs args{x, x_row, offsets, weights, taps, bias, width, y, y_row};
  std::int64_t i = 0;
  for (; i + 4 <= rows; i += 4) weigh_rows<4>(args, i);
  switch (rows - i) {
    case 3:
      return weigh_rows<3>(args, i);
    case 2:
      return weigh_rows<2>(args, i);
    case 1:
      return weigh_rows<1>(args, i);
    default:
      return;
  }
}

inline constexpr RowMix kRowMix = {mix, products, weigh};

}  // namespace locant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace locant {
namespace {

void plain_mix(const float* a, std::int64_t a_row, std::int64_t a_column, std::int64_t M, std::int64_t K,
               const float* x, std::int64_t x_row, std::int64_t width, float* y, std::int64_t y_row) {
  for (std::int64_t m = 0; m < M; ++m) {
    std::fill_n(y + m * y_row, width, 0.0f);
    for (std::int64_t k = 0; k < K; ++k)
      for (std::int64_t c = 0; c < width; ++c)
        y[m * y_row + c] += a[m * a_row + k * a_column] * x[k * x_row + c];
  }
}

void plain_products(const float* x, std::int64_t x_row, std::int64_t x_outer, const float* y,
                    std::int64_t y_row, std::int64_t y_outer, std::int64_t M, std::int64_t K,
                    std::int64_t outer, std::int64_t width, float* out) {
  for (std::int64_t m = 0; m < M; ++m)
    for (std::int64_t k = 0; k < K; ++k) {
      float sum = 0.0f;
      for (std::int64_t o = 0; o < outer; ++o)
        for (std::int64_t c = 0; c < width; ++c)
          sum += x[m * x_row + o * x_outer + c] * y[k * y_row + o * y_outer + c];
      out[m * K + k] = sum;
    }
}

void plain_weigh(const float* x, std::int64_t x_row, const std::int64_t* offsets, const float* const* weights,
                 std::int64_t taps, const float* bias, std::int64_t rows, std::int64_t width, float* y,
                 std::int64_t y_row) {
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t c = 0; c < width; ++c) {
      float sum = bias == nullptr ? 0.0f : bias[c];
      for (std::int64_t t = 0; t < taps; ++t) sum += weights[t][c] * x[i * x_row + offsets[t] + c];
      y[i * y_row + c] = sum;
    }
}

}  // namespace

const RowMix& row_mix(Isa isa) {
  static constexpr RowMix kReference = {plain_mix, plain_products, plain_weigh};
  return table_of(isa, kReference, N_SSE4::kRowMix, N_AVX2::kRowMix, N_AVX3::kRowMix);
}

const RowMix& row_mix() { return row_mix(active_isa()); }

}  // namespace locant
#endif
