#pragma once

// For plain equations of encodings that act on tokens as a picture: everything (tokens, channels), one
// sample.

#include <cmath>
#include <cstdint>
#include <vector>

#include "position/encoding.h"

namespace locant {

/// A convolution as plain_convolution takes it: weight (out, in / groups, k, k), bias (out) or null.
template <class T>
struct PlainConv {
  const T* weight;
  const T* bias;
  std::int64_t in, out, k, stride, pad, groups;
  std::int64_t extent(std::int64_t n) const { return (n + 2 * pad - k) / stride + 1; }
};

/// x (h w, in) -> (h' w', out), zeros outside.
template <class T>
std::vector<T> plain_convolution(const std::vector<T>& x, std::int64_t h, std::int64_t w,
                                 const PlainConv<T>& c) {
  std::vector<T> y;
  const std::int64_t from = c.in / c.groups;
  for (std::int64_t r = 0; r < c.extent(h); ++r)
    for (std::int64_t q = 0; q < c.extent(w); ++q)
      for (std::int64_t o = 0; o < c.out; ++o) {
        T sum = c.bias == nullptr ? T(0.0) : c.bias[o];
        for (std::int64_t i = 0; i < from; ++i)
          for (std::int64_t u = 0; u < c.k; ++u)
            for (std::int64_t v = 0; v < c.k; ++v) {
              const std::int64_t row = r * c.stride + u - c.pad, column = q * c.stride + v - c.pad;
              if (row < 0 || column < 0 || row >= h || column >= w) continue;
              const std::int64_t channel = o / (c.out / c.groups) * from + i;
              sum += c.weight[((o * from + i) * c.k + u) * c.k + v] *
                     x[static_cast<std::size_t>((row * w + column) * c.in + channel)];
            }
        y.push_back(sum);
      }
  return y;
}

/// Tokens [first, first + count) of sample b of x (B, N, C).
template <class T>
std::vector<T> plain_tokens(const std::vector<T>& x, std::int64_t N, std::int64_t C, std::int64_t b,
                            std::int64_t first, std::int64_t count) {
  const auto begin = x.begin() + (b * N + first) * C;
  return {begin, begin + count * C};
}

/// f(tokens of the grid of one sample) for each sample of x (B, prefix + h w, C), behind the same prefix.
template <class T, class F>
std::vector<T> plain_on_grid(const std::vector<T>& x, std::int64_t B, std::int64_t prefix,
                             std::int64_t patches, const F& f) {
  const std::int64_t N = prefix + patches, C = static_cast<std::int64_t>(x.size()) / (B * N);
  std::vector<T> y;
  for (std::int64_t b = 0; b < B; ++b) {
    const std::vector<T> before = plain_tokens(x, N, C, b, 0, prefix);
    const std::vector<T> after = f(plain_tokens(x, N, C, b, prefix, patches));
    y.insert(y.end(), before.begin(), before.end());
    y.insert(y.end(), after.begin(), after.end());
  }
  return y;
}

/// Layer norm of each token (layer), or a batch norm's running form (mean and var not null).
template <class T>
void plain_norm(std::vector<T>& x, std::int64_t C, const T* weight, const T* bias, double eps,
                const float* mean = nullptr, const float* var = nullptr) {
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(C)) {
    T* row = x.data() + at;
    T middle{}, spread{};
    for (std::int64_t c = 0; c < C; ++c) middle += row[c] / static_cast<double>(C);
    for (std::int64_t c = 0; c < C; ++c)
      spread += (row[c] - middle) * (row[c] - middle) / static_cast<double>(C);
    for (std::int64_t c = 0; c < C; ++c) {
      const T m = mean == nullptr ? middle : T(static_cast<double>(mean[c]));
      const T s = var == nullptr ? spread : T(static_cast<double>(var[c]));
      row[c] = (row[c] - m) / std::sqrt(s + eps) * weight[c] + bias[c];
    }
  }
}

/// x Phi(x); the imaginary part, a complex step, times the slope.
inline std::complex<double> plain_gelu(std::complex<double> z) {
  const double x = z.real(), cdf = 0.5 * (1.0 + std::erf(x / std::sqrt(2.0)));
  const double slope = cdf + x * std::exp(-x * x / 2) / std::sqrt(2 * 3.141592653589793);
  return {x * cdf, slope * z.imag()};
}

/// Softmax attention of q on k and v as they are, scale 0: D^-0.5.
template <class T>
std::vector<T> plain_softmax_attention(const EncodingCase& c, const std::vector<T>& q,
                                       const std::vector<T>& k, const std::vector<T>& v, double scale = 0.0) {
  const double factor = scale == 0.0 ? 1.0 / std::sqrt(static_cast<double>(c.D)) : scale;
  const PlainCall<T> call{c, q, k, v};
  return plain_attention<T>(call,
                            [&](auto b, auto h, auto i, auto j) { return factor * call.dot(b, h, i, j); });
}

}  // namespace locant
