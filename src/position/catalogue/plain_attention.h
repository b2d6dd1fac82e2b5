#pragma once

// Attention by its definition, in complex double: what the plain equations of the encodings are written with.

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "position/catalogue/encoding.h"

namespace locant {

/// The (b, h, i, j) view of the flat numbers of a call: q, k, v, then the parameters.
struct PlainCall {
  const EncodingCase& c;
  const std::vector<Complexes>& x;
  const Complex* query(std::int64_t b, std::int64_t h, std::int64_t i) const {
    return x[0].data() + ((b * c.Nq() + i) * c.H + h) * c.D;
  }
  const Complex* key(std::int64_t b, std::int64_t h, std::int64_t j) const {
    return x[1].data() + ((b * c.Nk() + j) * c.H + h) * c.D;
  }
  const Complex* value(std::int64_t b, std::int64_t h, std::int64_t j) const {
    return x[2].data() + ((b * c.Nk() + j) * c.H + h) * c.Dv;
  }
  /// q_i.k_j
  Complex dot(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    const Complex *q = query(b, h, i), *k = key(b, h, j);
    Complex sum{};
    for (std::int64_t d = 0; d < c.D; ++d) sum += q[d] * k[d];
    return sum;
  }
  /// q_i.k_j / sqrt(D)
  Complex score(std::int64_t b, std::int64_t h, std::int64_t i, std::int64_t j) const {
    return dot(b, h, i, j) / std::sqrt(static_cast<double>(c.D));
  }
};

/// softmax_j(score(b, h, i, j)) over the j with seen(i, j), times value(b, h, i, j, d): references are this
/// with their own score. A query that sees nothing gives zeros.
template <class Score, class Seen, class Value>
Complexes plain_attention(const PlainCall& call, const Score& score, const Seen& seen, const Value& value) {
  const EncodingCase& c = call.c;
  Complexes out(static_cast<std::size_t>(c.B * c.Nq() * c.H * c.Dv));
  Complexes scores(static_cast<std::size_t>(c.Nk()));
  for (std::int64_t b = 0; b < c.B; ++b)
    for (std::int64_t h = 0; h < c.H; ++h)
      for (std::int64_t i = 0; i < c.Nq(); ++i) {
        double most = -HUGE_VAL;
        for (std::int64_t j = 0; j < c.Nk(); ++j) {
          if (!seen(i, j)) continue;
          scores[static_cast<std::size_t>(j)] = score(b, h, i, j);
          most = std::max(most, std::real(scores[static_cast<std::size_t>(j)]));
        }
        if (most == -HUGE_VAL) continue;
        Complex* o = out.data() + ((b * c.Nq() + i) * c.H + h) * c.Dv;
        Complex total{};
        for (std::int64_t j = 0; j < c.Nk(); ++j) {
          if (!seen(i, j)) continue;
          const Complex p = std::exp(scores[static_cast<std::size_t>(j)] - Complex(most));
          total += p;
          for (std::int64_t d = 0; d < c.Dv; ++d) o[d] += p * value(b, h, i, j, d);
        }
        for (std::int64_t d = 0; d < c.Dv; ++d) o[d] /= total;
      }
  return out;
}

/// Where every query sees every key.
struct SeesAll {
  bool operator()(std::int64_t, std::int64_t) const { return true; }
};

/// Values as they are.
template <class Score, class Seen = SeesAll>
Complexes plain_attention(const PlainCall& call, const Score& score, const Seen& seen = {}) {
  return plain_attention(call, score, seen,
                         [&](std::int64_t b, std::int64_t h, std::int64_t, std::int64_t j, std::int64_t d) {
                           return call.value(b, h, j)[d];
                         });
}

/// Attention of q on k and v as they are, scale 0: D^-0.5.
inline Complexes plain_attention(const EncodingCase& c, const Complexes& q, const Complexes& k,
                                 const Complexes& v, double scale = 0.0) {
  const std::vector<Complexes> x = {q, k, v};
  const PlainCall call{c, x};
  const double factor = scale == 0.0 ? 1.0 / std::sqrt(static_cast<double>(c.D)) : scale;
  return plain_attention(call, [&](auto b, auto h, auto i, auto j) { return factor * call.dot(b, h, i, j); });
}

}  // namespace locant
