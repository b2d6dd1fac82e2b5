#include "kernels/row_ops.h"

#include <limits>

#include "kernels/row_ops_reference.h"
#include "kernels/row_table_inl.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/row_ops.cc"
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

using Tag = hn::ScalableTag<float>;
using Vector = hn::Vec<Tag>;
using OneTag = hn::CappedTag<float, 1>;

// body(tag, i) for whole vectors, then for the elements left over, one at a time. Bodies are lambdas marked
// HWY_ATTR: clang does not pass the target on to them by itself.
template <class Body>
HWY_INLINE void sweep(std::int64_t n, const Body& body) {
  const Tag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + lanes <= n; i += lanes) body(d, i);
  for (; i < n; ++i) body(OneTag(), i);
}

// Sum of map(tag, i). Four accumulators: one would wait for its own addition.
template <class Map>
HWY_INLINE float sum_of(std::int64_t n, const Map& map) {
  const Tag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  Vector s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    s0 = hn::Add(s0, map(d, i));
    s1 = hn::Add(s1, map(d, i + lanes));
    s2 = hn::Add(s2, map(d, i + 2 * lanes));
    s3 = hn::Add(s3, map(d, i + 3 * lanes));
  }
  for (; i + lanes <= n; i += lanes) s0 = hn::Add(s0, map(d, i));
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < n; ++i) sum += hn::GetLane(map(OneTag(), i));
  return sum;
}

// x = n ln 2 + r, |r| <= ln 2 / 2, for x of -127 ln 2 to 88: 2^n and P(r) with e^r = 1 + r + r^2 P(r), P
// fitted at the Chebyshev points; relative error 1e-8.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_parts(D d, V x, V& r, V& power) {
  const hn::RebindToSigned<D> di;
  // ln 2 in two parts, the first with few bits, so that n times it is exact.
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  r = hn::MulAdd(n, hn::Set(d, -0.693359375f), x);
  r = hn::MulAdd(n, hn::Set(d, 2.12194440055e-4f), r);
  V p = hn::Set(d, 0.001392625083f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.008363232884f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.04166655421f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.1666657667f));
  power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  return hn::MulAdd(p, r, hn::Set(d, 0.5f));
}

// e^x, relative error below 2e-7; x above 88 counts as 88, results below the smallest normal number are zero.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_of(D d, V x) {
  const auto vanishes = hn::Lt(x, hn::Set(d, -87.3f));
  V r = x, power = x;
  V p = exp_parts(d, hn::Min(x, hn::Set(d, 88.0f)), r, power);
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  return hn::IfThenZeroElse(vanishes, hn::Mul(p, power));
}

// e^x - 1 for x <= 0, to its last bits near zero too: 2^n (e^r - 1) + (2^n - 1).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_less_one(D d, V x) {
  V r = x, power = x;
  const V p = exp_parts(d, hn::Max(x, hn::Set(d, -64.0f)), r, power);
  const V rest = hn::MulAdd(p, hn::Mul(r, r), r);
  return hn::MulAdd(power, rest, hn::Sub(power, hn::Set(d, 1.0f)));
}

// `value`, but a NaN where x is one: Min and Max drop it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V keep_nan(D, V x, V value) {
  return hn::IfThenElse(hn::IsNaN(x), x, value);
}

// The normal distribution at x: the area below it, and density = exp(-x^2 / 2), not divided by sqrt(2 pi).
template <class D, class V = hn::Vec<D>>
HWY_INLINE V normal_area(D d, V x, V& density) {
  const V a = hn::Abs(x);
  density = exp_of(d, hn::Mul(hn::Mul(a, a), hn::Set(d, -0.5f)));
  // Area beyond a, over the density: t P(t), t = 1 / (1 + 0.27 a), P fitted at the Chebyshev points of t for
  // a up to 13.5; relative error 3e-8. Taking the small side first keeps GELU's negative tail exact to its
  // last bits.
  const V t = hn::Div(hn::Set(d, 1.0f), hn::MulAdd(a, hn::Set(d, 0.27f), hn::Set(d, 1.0f)));
  V p = hn::Set(d, 0.02898864139f);
  p = hn::MulAdd(p, t, hn::Set(d, -0.1266612454f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1702335344f));
  p = hn::MulAdd(p, t, hn::Set(d, -0.06981608434f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1083032538f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.07182439649f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1018724766f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1075338469f));
  p = hn::MulAdd(p, t, hn::Set(d, 0.1077211909f));
  const V beyond = hn::Mul(hn::Mul(density, t), p);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), beyond, hn::Sub(hn::Set(d, 1.0f), beyond));
}

void layer_norm(const float* x, std::int64_t rows, std::int64_t width, const float* weight, const float* bias,
                float eps, float* y, float* mean, float* rstd) {
  const float share = 1.0f / static_cast<float>(width);
  for (std::int64_t r = 0; r < rows; ++r, x += width, y += width) {
    const float m =
        share * sum_of(width, [&](auto d, std::int64_t i) HWY_ATTR { return hn::LoadU(d, x + i); });
    const float square = sum_of(width, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto h = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, m));
      return hn::Mul(h, h);
    });
    const float s = 1.0f / std::sqrt(square * share + eps);
    sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto h = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, m)), hn::Set(d, s));
      hn::StoreU(hn::MulAdd(h, hn::LoadU(d, weight + i), hn::LoadU(d, bias + i)), d, y + i);
    });
    if (mean != nullptr) mean[r] = m;
    if (rstd != nullptr) rstd[r] = s;
  }
}

void layer_norm_gradient(const float* x, const float* weight, const float* mean, const float* rstd,
                         const float* dy, std::int64_t rows, std::int64_t width, float* dx, float* dweight,
                         float* dbias) {
  const float share = 1.0f / static_cast<float>(width);
  for (std::int64_t r = 0; r < rows; ++r, x += width, dy += width) {
    const float m = mean[r], s = rstd[r];
    if (dweight != nullptr)
      sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto h = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, m)), hn::Set(d, s));
        hn::StoreU(hn::MulAdd(hn::LoadU(d, dy + i), h, hn::LoadU(d, dweight + i)), d, dweight + i);
      });
    if (dbias != nullptr)
      sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
        hn::StoreU(hn::Add(hn::LoadU(d, dbias + i), hn::LoadU(d, dy + i)), d, dbias + i);
      });
    if (dx == nullptr) continue;
    const float mean_g = share * sum_of(width, [&](auto d, std::int64_t i) HWY_ATTR {
                           return hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i));
                         });
    const float mean_gh = share * sum_of(width, [&](auto d, std::int64_t i) HWY_ATTR {
                            const auto h =
                                hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, m)), hn::Set(d, s));
                            return hn::Mul(hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i)), h);
                          });
    sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto h = hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, m)), hn::Set(d, s));
      const auto g = hn::Mul(hn::LoadU(d, dy + i), hn::LoadU(d, weight + i));
      const auto rest = hn::NegMulAdd(h, hn::Set(d, mean_gh), hn::Sub(g, hn::Set(d, mean_g)));
      hn::StoreU(hn::Mul(rest, hn::Set(d, s)), d, dx + i);
    });
    dx += width;
  }
}

void gelu(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    auto density = z;
    hn::StoreU(hn::Mul(z, normal_area(d, z, density)), d, y + i);
  });
}

void gelu_gradient(const float* x, const float* dy, std::int64_t n, float* dx) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    auto density = z;
    const auto area = normal_area(d, z, density);
    const auto slope = hn::MulAdd(hn::Mul(z, density), hn::Set(d, 0.398942280f), area);
    hn::StoreU(hn::Mul(hn::LoadU(d, dy + i), slope), d, dx + i);
  });
}

void softmax(const float* x, std::int64_t rows, std::int64_t width, float* y) {
  const Tag tag;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(tag));
  for (std::int64_t r = 0; r < rows; ++r, x += width, y += width) {
    Vector most_v = hn::Set(tag, -std::numeric_limits<float>::infinity());
    std::int64_t i = 0;
    for (; i + lanes <= width; i += lanes) most_v = hn::Max(most_v, hn::LoadU(tag, x + i));
    float most = hn::GetLane(hn::MaxOfLanes(tag, most_v));
    for (; i < width; ++i) most = x[i] > most ? x[i] : most;
    if (most == -std::numeric_limits<float>::infinity()) {
      for (std::int64_t c = 0; c < width; ++c) y[c] = 0.0f;
      continue;
    }
    const float sum = sum_of(width, [&](auto d, std::int64_t c) HWY_ATTR {
      const auto e = exp_of(d, hn::Sub(hn::LoadU(d, x + c), hn::Set(d, most)));
      hn::StoreU(e, d, y + c);
      return e;
    });
    const float share = 1.0f / sum;
    sweep(width, [&](auto d, std::int64_t c)
                     HWY_ATTR { hn::StoreU(hn::Mul(hn::LoadU(d, y + c), hn::Set(d, share)), d, y + c); });
  }
}

void softmax_gradient(const float* y, const float* dy, std::int64_t rows, std::int64_t width, float* dx) {
  for (std::int64_t r = 0; r < rows; ++r, y += width, dy += width, dx += width) {
    const float dot = sum_of(width, [&](auto d, std::int64_t i) HWY_ATTR {
      return hn::Mul(hn::LoadU(d, y + i), hn::LoadU(d, dy + i));
    });
    sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto rest = hn::Sub(hn::LoadU(d, dy + i), hn::Set(d, dot));
      hn::StoreU(hn::Mul(hn::LoadU(d, y + i), rest), d, dx + i);
    });
  }
}

// 1 / (1 + e^-a), zero below -88, and e^-a on the way.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V a, V& exponential) {
  const V one = hn::Set(d, 1.0f);
  exponential = exp_of(d, hn::Neg(a));
  const V share = hn::Div(one, hn::Add(one, exponential));
  return hn::IfThenZeroElse(hn::Lt(a, hn::Set(d, -88.0f)), share);
}

void swiglu(const float* x, std::int64_t rows, std::int64_t half, float* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, y += half)
    sweep(half, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto a = hn::LoadU(d, x + i);
      auto e = a;
      hn::StoreU(hn::Mul(hn::Mul(a, sigmoid(d, a, e)), hn::LoadU(d, x + half + i)), d, y + i);
    });
}

void swiglu_gradient(const float* x, const float* dy, std::int64_t rows, std::int64_t half, float* dx) {
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, dy += half, dx += 2 * half)
    sweep(half, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + half + i), g = hn::LoadU(d, dy + i);
      auto e = a;
      const auto s = sigmoid(d, a, e);
      // d silu(a) / da = s (1 + a (1 - s)), 1 - s = e s without the cancellation.
      const auto slope = hn::MulAdd(hn::Mul(a, hn::Mul(e, s)), s, s);
      hn::StoreU(hn::Mul(hn::Mul(g, b), slope), d, dx + i);
      hn::StoreU(hn::Mul(g, hn::Mul(a, s)), d, dx + half + i);
    });
}

void scale_rows(const float* x, const float* gamma, const float* residual, std::int64_t rows,
                std::int64_t width, float* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += width, y += width) {
    sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
      auto z = hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, gamma + i));
      if (residual != nullptr) z = hn::Add(z, hn::LoadU(d, residual + i));
      hn::StoreU(z, d, y + i);
    });
    if (residual != nullptr) residual += width;
  }
}

void add(const float* a, const float* b, float scale, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::Add(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), hn::Set(d, scale)), d, y + i);
  });
}

void sum_rows(const float* x, const float* by, std::int64_t rows, std::int64_t width, float* out) {
  for (std::int64_t r = 0; r < rows; ++r, x += width) {
    sweep(width, [&](auto d, std::int64_t i) HWY_ATTR {
      auto z = hn::LoadU(d, x + i);
      if (by != nullptr) z = hn::Mul(z, hn::LoadU(d, by + i));
      hn::StoreU(hn::Add(hn::LoadU(d, out + i), z), d, out + i);
    });
    if (by != nullptr) by += width;
  }
}

void exp(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    const auto top = hn::Gt(z, hn::Set(d, 88.0f));
    const auto e = hn::IfThenElse(top, hn::Inf(d), exp_of(d, z));
    hn::StoreU(keep_nan(d, z, e), d, y + i);
  });
}

void sigmoid_rows(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    auto e = z;
    hn::StoreU(keep_nan(d, z, sigmoid(d, z, e)), d, y + i);
  });
}

// With m = e^-2|x| - 1: |tanh x| = -m / (2 + m).
void tanh(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    const auto m = exp_less_one(d, hn::Mul(hn::Abs(z), hn::Set(d, -2.0f)));
    const auto size = hn::Div(hn::Neg(m), hn::Add(m, hn::Set(d, 2.0f)));
    hn::StoreU(keep_nan(d, z, hn::CopySignToAbs(hn::Abs(size), z)), d, y + i);
  });
}

void elu(const float* x, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    const auto low = exp_less_one(d, hn::Min(z, hn::Zero(d)));
    hn::StoreU(hn::IfThenElse(hn::Lt(z, hn::Zero(d)), low, z), d, y + i);
  });
}

void silu(const float* x, float factor, std::int64_t n, float* y) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    auto e = z;
    hn::StoreU(hn::Mul(z, sigmoid(d, hn::Mul(z, hn::Set(d, factor)), e)), d, y + i);
  });
}

void silu_gradient(const float* x, float factor, const float* dy, std::int64_t n, float* dx) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto a = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
    auto e = a;
    const auto s = sigmoid(d, a, e);
    const auto slope = hn::MulAdd(hn::Mul(a, hn::Mul(e, s)), s, s);  // as in swiglu_gradient
    hn::StoreU(hn::Mul(hn::LoadU(d, dy + i), slope), d, dx + i);
  });
}

// s (1 - s) = e^-a s^2: no difference that loses digits.
void sigmoid_gradient(const float* x, float factor, const float* dy, std::int64_t n, float* dx) {
  sweep(n, [&](auto d, std::int64_t i) HWY_ATTR {
    const auto z = hn::LoadU(d, x + i);
    auto e = z;
    const auto s = sigmoid(d, hn::Mul(z, hn::Set(d, factor)), e);
    const auto slope = hn::Mul(hn::Mul(hn::Mul(e, s), s), hn::Set(d, factor * factor));
    hn::StoreU(hn::Mul(hn::LoadU(d, dy + i), keep_nan(d, z, slope)), d, dx + i);
  });
}

void glu(const float* x, std::int64_t rows, std::int64_t half, float* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, y += half)
    sweep(half, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto b = hn::LoadU(d, x + half + i);
      auto e = b;
      hn::StoreU(hn::Mul(hn::LoadU(d, x + i), keep_nan(d, b, sigmoid(d, b, e))), d, y + i);
    });
}

void glu_gradient(const float* x, const float* dy, std::int64_t rows, std::int64_t half, float* dx) {
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, dy += half, dx += 2 * half)
    sweep(half, [&](auto d, std::int64_t i) HWY_ATTR {
      const auto a = hn::LoadU(d, x + i), b = hn::LoadU(d, x + half + i), g = hn::LoadU(d, dy + i);
      auto e = b;
      const auto s = keep_nan(d, b, sigmoid(d, b, e));
      hn::StoreU(hn::Mul(g, s), d, dx + i);
      hn::StoreU(hn::Mul(hn::Mul(g, a), hn::Mul(hn::Mul(e, s), s)), d, dx + half + i);
    });
}

void correlate(const float* x, const std::int64_t* offsets, const float* weights, std::int64_t taps,
               std::int64_t n, float* y) {
  const Tag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    Vector s0 = hn::LoadU(d, y + i), s1 = hn::LoadU(d, y + i + lanes), s2 = hn::LoadU(d, y + i + 2 * lanes),
           s3 = hn::LoadU(d, y + i + 3 * lanes);
    for (std::int64_t t = 0; t < taps; ++t) {
      const float* from = x + i + offsets[t];
      const Vector w = hn::Set(d, weights[t]);
      s0 = hn::MulAdd(w, hn::LoadU(d, from), s0);
      s1 = hn::MulAdd(w, hn::LoadU(d, from + lanes), s1);
      s2 = hn::MulAdd(w, hn::LoadU(d, from + 2 * lanes), s2);
      s3 = hn::MulAdd(w, hn::LoadU(d, from + 3 * lanes), s3);
    }
    hn::StoreU(s0, d, y + i);
    hn::StoreU(s1, d, y + i + lanes);
    hn::StoreU(s2, d, y + i + 2 * lanes);
    hn::StoreU(s3, d, y + i + 3 * lanes);
  }
  sweep(n - i, [&](auto one, std::int64_t at) HWY_ATTR {
    auto s = hn::LoadU(one, y + i + at);
    for (std::int64_t t = 0; t < taps; ++t)
      s = hn::MulAdd(hn::Set(one, weights[t]), hn::LoadU(one, x + i + at + offsets[t]), s);
    hn::StoreU(s, one, y + i + at);
  });
}

void correlate_gradient(const float* x, const std::int64_t* offsets, const float* dy, std::int64_t taps,
                        std::int64_t n, float* dweights) {
  const Tag d;
  const std::int64_t lanes = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t t = 0;
  for (; t + 4 <= taps; t += 4) {  // dy is loaded once for four taps; two sums each hide the addition's wait
    const float *x0 = x + offsets[t], *x1 = x + offsets[t + 1], *x2 = x + offsets[t + 2],
                *x3 = x + offsets[t + 3];
    Vector a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    std::int64_t i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
      const Vector g = hn::LoadU(d, dy + i), h = hn::LoadU(d, dy + i + lanes);
      a0 = hn::MulAdd(g, hn::LoadU(d, x0 + i), a0);
      a1 = hn::MulAdd(g, hn::LoadU(d, x1 + i), a1);
      a2 = hn::MulAdd(g, hn::LoadU(d, x2 + i), a2);
      a3 = hn::MulAdd(g, hn::LoadU(d, x3 + i), a3);
      b0 = hn::MulAdd(h, hn::LoadU(d, x0 + i + lanes), b0);
      b1 = hn::MulAdd(h, hn::LoadU(d, x1 + i + lanes), b1);
      b2 = hn::MulAdd(h, hn::LoadU(d, x2 + i + lanes), b2);
      b3 = hn::MulAdd(h, hn::LoadU(d, x3 + i + lanes), b3);
    }
    float sums[4] = {
        hn::GetLane(hn::SumOfLanes(d, hn::Add(a0, b0))), hn::GetLane(hn::SumOfLanes(d, hn::Add(a1, b1))),
        hn::GetLane(hn::SumOfLanes(d, hn::Add(a2, b2))), hn::GetLane(hn::SumOfLanes(d, hn::Add(a3, b3)))};
    for (; i < n; ++i) {
      sums[0] += dy[i] * x0[i];
      sums[1] += dy[i] * x1[i];
      sums[2] += dy[i] * x2[i];
      sums[3] += dy[i] * x3[i];
    }
    for (std::int64_t k = 0; k < 4; ++k) dweights[t + k] += sums[k];
  }
  for (; t < taps; ++t) {
    const float* from = x + offsets[t];
    dweights[t] += sum_of(n, [&](auto one, std::int64_t i) HWY_ATTR {
      return hn::Mul(hn::LoadU(one, dy + i), hn::LoadU(one, from + i));
    });
  }
}

inline constexpr RowOps kRowOps = {layer_norm,   layer_norm_gradient,
                                   gelu,         gelu_gradient,
                                   softmax,      softmax_gradient,
                                   swiglu,       swiglu_gradient,
                                   scale_rows,   add,
                                   sum_rows,     exp,
                                   sigmoid_rows, sigmoid_gradient,
                                   tanh,         elu,
                                   silu,         silu_gradient,
                                   glu,          glu_gradient,
                                   correlate,    correlate_gradient};

}  // namespace locant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace locant {

const RowOps& row_ops(Isa isa) {
  static constexpr RowOps kReference = {reference::layer_norm<float>, reference::layer_norm_gradient<float>,
                                        reference::gelu<float>,       reference::gelu_gradient<float>,
                                        reference::softmax<float>,    reference::softmax_gradient<float>,
                                        reference::swiglu<float>,     reference::swiglu_gradient<float>,
                                        reference::scale_rows<float>, reference::add<float>,
                                        reference::sum_rows<float>,   reference::exp<float>,
                                        reference::sigmoid<float>,    reference::sigmoid_gradient<float>,
                                        reference::tanh<float>,       reference::elu<float>,
                                        reference::silu<float>,       reference::silu_gradient<float>,
                                        reference::glu<float>,        reference::glu_gradient<float>,
                                        reference::correlate<float>,  reference::correlate_gradient<float>};
  return table_of(isa, kReference, N_SSE4::kRowOps, N_AVX2::kRowOps, N_AVX3::kRowOps);
}

const RowOps& row_ops() { return row_ops(active_isa()); }

}  // namespace locant
#endif
