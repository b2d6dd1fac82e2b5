#pragma once

// For plain equations of encodings that act on tokens as a picture: everything (tokens, channels), one
// sample.

#include <cmath>
#include <cstdint>

#include "position/catalogue/encoding.h"

namespace locant {

/// A convolution as plain_convolution takes it: weight (out, in / groups, k, k), bias (out) or null.
struct PlainConv {
  const Complex* weight;
  const Complex* bias;
  std::int64_t in, out, k, stride, pad, groups;
  std::int64_t extent(std::int64_t n) const { return (n + 2 * pad - k) / stride + 1; }
};

/// x (h w, in) -> (h' w', out), zeros outside.
inline Complexes plain_convolution(const Complexes& x, std::int64_t h, std::int64_t w, const PlainConv& c) {
  Complexes y;
  const std::int64_t from = c.in / c.groups;
  for (std::int64_t r = 0; r < c.extent(h); ++r)
    for (std::int64_t q = 0; q < c.extent(w); ++q)
      for (std::int64_t o = 0; o < c.out; ++o) {
        Complex sum = c.bias == nullptr ? Complex(0.0) : c.bias[o];
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
inline Complexes plain_tokens(const Complexes& x, std::int64_t N, std::int64_t C, std::int64_t b,
                              std::int64_t first, std::int64_t count) {
  const auto begin = x.begin() + (b * N + first) * C;
  return {begin, begin + count * C};
}

/// f(tokens of the grid of one sample) for each sample of x (B, prefix + h w, C), behind the same prefix.
template <class F>
Complexes plain_on_grid(const Complexes& x, std::int64_t B, std::int64_t prefix, std::int64_t patches,
                        const F& f) {
  const std::int64_t N = prefix + patches, C = static_cast<std::int64_t>(x.size()) / (B * N);
  Complexes y;
  for (std::int64_t b = 0; b < B; ++b) {
    const Complexes before = plain_tokens(x, N, C, b, 0, prefix);
    const Complexes after = f(plain_tokens(x, N, C, b, prefix, patches));
    y.insert(y.end(), before.begin(), before.end());
    y.insert(y.end(), after.begin(), after.end());
  }
  return y;
}

/// Layer norm of each token (layer), or a batch norm's running form (mean and var not null).
inline void plain_norm(Complexes& x, std::int64_t C, const Complex* weight, const Complex* bias, double eps,
                       const float* mean = nullptr, const float* var = nullptr) {
  for (std::size_t at = 0; at < x.size(); at += static_cast<std::size_t>(C)) {
    Complex* row = x.data() + at;
    Complex middle{}, spread{};
    for (std::int64_t c = 0; c < C; ++c) middle += row[c] / static_cast<double>(C);
    for (std::int64_t c = 0; c < C; ++c)
      spread += (row[c] - middle) * (row[c] - middle) / static_cast<double>(C);
    for (std::int64_t c = 0; c < C; ++c) {
      const Complex m = mean == nullptr ? middle : Complex(static_cast<double>(mean[c]));
      const Complex s = var == nullptr ? spread : Complex(static_cast<double>(var[c]));
      row[c] = (row[c] - m) / std::sqrt(s + eps) * weight[c] + bias[c];
    }
  }
}

/// x Phi(x); the imaginary part, a complex step, times the slope.
inline Complex plain_gelu(Complex z) {
  const double x = z.real(), cdf = 0.5 * (1.0 + std::erf(x / std::sqrt(2.0)));
  const double slope = cdf + x * std::exp(-x * x / 2) / std::sqrt(2 * 3.141592653589793);
  return {x * cdf, slope * z.imag()};
}

}  // namespace locant
