#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <limits>
#include <vector>

namespace locant::reference {

/// What sums are kept in: float rows in double, anything else (double, complex) as it is.
template <class T>
struct Wide {
  using type = T;
};
template <>
struct Wide<float> {
  using type = double;
};

/// The formulas of row_ops.h, one element at a time: the `reference` instruction set, and the oracle of the
/// others. Analytic in x, so that T may be complex (complex-step gradients).
template <class T>
void layer_norm(const T* x, std::int64_t rows, std::int64_t width, const T* weight, const T* bias, float eps,
                T* y, T* mean, T* rstd) {
  using W = typename Wide<T>::type;
  const W count = static_cast<W>(static_cast<double>(width));
  for (std::int64_t r = 0; r < rows; ++r, x += width, y += width) {
    W sum = 0, square = 0;
    for (std::int64_t c = 0; c < width; ++c) sum += x[c];
    const W m = sum / count;
    for (std::int64_t c = 0; c < width; ++c) square += (W(x[c]) - m) * (W(x[c]) - m);
    const W s = W(1) / std::sqrt(square / count + W(static_cast<double>(eps)));
    for (std::int64_t c = 0; c < width; ++c) y[c] = T((W(x[c]) - m) * s * W(weight[c]) + W(bias[c]));
    if (mean != nullptr) mean[r] = T(m);
    if (rstd != nullptr) rstd[r] = T(s);
  }
}

template <class T>
void layer_norm_gradient(const T* x, const T* weight, const T* mean, const T* rstd, const T* dy,
                         std::int64_t rows, std::int64_t width, T* dx, T* dweight, T* dbias) {
  using W = typename Wide<T>::type;
  const W count = static_cast<W>(static_cast<double>(width));
  for (std::int64_t r = 0; r < rows; ++r, x += width, dy += width) {
    const W m = mean[r], s = rstd[r];
    W sum_g = 0, sum_gh = 0;
    for (std::int64_t c = 0; c < width; ++c) {
      const W h = (W(x[c]) - m) * s, g = W(dy[c]) * W(weight[c]);
      sum_g += g;
      sum_gh += g * h;
      if (dweight != nullptr) dweight[c] += T(W(dy[c]) * h);
      if (dbias != nullptr) dbias[c] += dy[c];
    }
    if (dx == nullptr) continue;
    for (std::int64_t c = 0; c < width; ++c) {
      const W h = (W(x[c]) - m) * s, g = W(dy[c]) * W(weight[c]);
      dx[c] = T(s * (g - sum_g / count - h * sum_gh / count));
    }
    dx += width;
  }
}

template <class T>
void gelu(const T* x, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = T(0.5 * x[i] * std::erfc(-x[i] * std::sqrt(0.5)));
}

template <class T>
void gelu_gradient(const T* x, const T* dy, std::int64_t n, T* dx) {
  constexpr double kDensity = 0.39894228040143267794;  // 1 / sqrt(2 pi)
  for (std::int64_t i = 0; i < n; ++i) {
    const double z = x[i];
    dx[i] = T(dy[i] * (0.5 * std::erfc(-z * std::sqrt(0.5)) + z * kDensity * std::exp(-0.5 * z * z)));
  }
}

template <class T>
void softmax(const T* x, std::int64_t rows, std::int64_t width, T* y) {
  using W = typename Wide<T>::type;
  for (std::int64_t r = 0; r < rows; ++r, x += width, y += width) {
    double most = -std::numeric_limits<double>::infinity();
    for (std::int64_t c = 0; c < width; ++c) most = std::max(most, static_cast<double>(std::real(x[c])));
    W sum = 0;
    if (!std::isinf(most))
      for (std::int64_t c = 0; c < width; ++c) sum += std::exp(W(x[c]) - W(most));
    for (std::int64_t c = 0; c < width; ++c)
      y[c] = std::isinf(most) ? T(0) : T(std::exp(W(x[c]) - W(most)) / sum);
  }
}

template <class T>
void softmax_gradient(const T* y, const T* dy, std::int64_t rows, std::int64_t width, T* dx) {
  using W = typename Wide<T>::type;
  for (std::int64_t r = 0; r < rows; ++r, y += width, dy += width, dx += width) {
    W dot = 0;
    for (std::int64_t c = 0; c < width; ++c) dot += W(y[c]) * W(dy[c]);
    for (std::int64_t c = 0; c < width; ++c) dx[c] = T(W(y[c]) * (W(dy[c]) - dot));
  }
}

template <class T>
void swiglu(const T* x, std::int64_t rows, std::int64_t half, T* y) {
  using W = typename Wide<T>::type;
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, y += half)
    for (std::int64_t c = 0; c < half; ++c) y[c] = T(W(x[c]) / (W(1) + std::exp(-W(x[c]))) * W(x[half + c]));
}

template <class T>
void swiglu_gradient(const T* x, const T* dy, std::int64_t rows, std::int64_t half, T* dx) {
  using W = typename Wide<T>::type;
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, dy += half, dx += 2 * half)
    for (std::int64_t c = 0; c < half; ++c) {
      const W a = x[c], s = W(1) / (W(1) + std::exp(-a));
      dx[c] = T(W(dy[c]) * W(x[half + c]) * s * (W(1) + a * (W(1) - s)));
      dx[half + c] = T(W(dy[c]) * a * s);
    }
}

template <class T>
void scale_rows(const T* x, const T* gamma, const T* residual, std::int64_t rows, std::int64_t width, T* y) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) {
      const std::int64_t i = r * width + c;
      y[i] = residual != nullptr ? gamma[c] * x[i] + residual[i] : gamma[c] * x[i];
    }
}

template <class T>
void add(const T* a, const T* b, T scale, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = scale * (a[i] + b[i]);
}

template <class T>
void sum_rows(const T* x, const T* by, std::int64_t rows, std::int64_t width, T* out) {
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < width; ++c) {
      const std::int64_t i = r * width + c;
      out[c] += by != nullptr ? x[i] * by[i] : x[i];
    }
}

template <class T>
void exp(const T* x, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]);
}

template <class T>
T sigmoid_of(T x) {
  using W = typename Wide<T>::type;
  return T(W(1) / (W(1) + std::exp(-W(x))));
}

template <class T>
void sigmoid(const T* x, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = sigmoid_of(x[i]);
}

template <class T>
void sigmoid_gradient(const T* x, float factor, const T* dy, std::int64_t n, T* dx) {
  using W = typename Wide<T>::type;
  for (std::int64_t i = 0; i < n; ++i) {
    const W a = W(factor) * W(x[i]);
    dx[i] = T(W(dy[i]) * W(factor * factor) * sigmoid_of(a) * sigmoid_of(-a));
  }
}

template <class T>
void tanh(const T* x, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::tanh(x[i]);
}

inline float expm1_of(float x) { return std::expm1(x); }
template <class T>
T expm1_of(T x) {
  return std::exp(x) - T(1);
}

template <class T>
void elu(const T* x, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = std::real(x[i]) < 0 ? expm1_of(x[i]) : x[i];
}

template <class T>
void silu(const T* x, float factor, std::int64_t n, T* y) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = x[i] * sigmoid_of(T(factor) * x[i]);
}

template <class T>
void silu_gradient(const T* x, float factor, const T* dy, std::int64_t n, T* dx) {
  using W = typename Wide<T>::type;
  for (std::int64_t i = 0; i < n; ++i) {
    const W a = W(factor) * W(x[i]), s = sigmoid_of(a);
    dx[i] = T(W(dy[i]) * s * (W(1) + a * (W(1) - s)));
  }
}

template <class T>
void glu(const T* x, std::int64_t rows, std::int64_t half, T* y) {
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, y += half)
    for (std::int64_t c = 0; c < half; ++c) y[c] = x[c] * sigmoid_of(x[half + c]);
}

template <class T>
void glu_gradient(const T* x, const T* dy, std::int64_t rows, std::int64_t half, T* dx) {
  using W = typename Wide<T>::type;
  for (std::int64_t r = 0; r < rows; ++r, x += 2 * half, dy += half, dx += 2 * half)
    for (std::int64_t c = 0; c < half; ++c) {
      const W s = sigmoid_of(W(x[half + c]));
      dx[c] = T(W(dy[c]) * s);
      dx[half + c] = T(W(dy[c]) * W(x[c]) * s * (W(1) - s));
    }
}

template <class T>
void correlate(const T* x, const std::int64_t* offsets, const T* weights, std::int64_t taps, std::int64_t n,
               T* y) {
  using W = typename Wide<T>::type;
  for (std::int64_t i = 0; i < n; ++i) {
    W sum = y[i];
    for (std::int64_t t = 0; t < taps; ++t) sum += W(weights[t]) * W(x[i + offsets[t]]);
    y[i] = T(sum);
  }
}

template <class T>
void correlate_gradient(const T* x, const std::int64_t* offsets, const T* dy, std::int64_t taps,
                        std::int64_t n, T* dweights) {
  using W = typename Wide<T>::type;
  for (std::int64_t t = 0; t < taps; ++t) {
    W sum = dweights[t];
    for (std::int64_t i = 0; i < n; ++i) sum += W(dy[i]) * W(x[i + offsets[t]]);
    dweights[t] = T(sum);
  }
}

}  // namespace locant::reference
