#pragma once

// For plain equations of encodings whose queries see places around them, some of them outside the grid.

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <utility>
#include <vector>

#include "position/catalogue/plain_attention.h"

namespace locant {

/// softmax over places(i), pairs (row, column) of the grid of keys, times the values there. score(b, h, i, y,
/// x, k): the whole score, with the key k. A place outside is masked, or has a key and a value of zeros.
template <class Places, class Score>
Complexes plain_local_attention(const PlainCall& call, bool zeros_outside, const Places& places,
                                const Score& score) {
  const EncodingCase& c = call.c;
  const Complexes nothing(static_cast<std::size_t>(std::max(c.D, c.Dv)));
  Complexes out(static_cast<std::size_t>(c.B * c.Nq() * c.H * c.Dv));
  Complex* o = out.data();
  for (std::int64_t b = 0; b < c.B; ++b)
    for (std::int64_t i = 0; i < c.Nq(); ++i)
      for (std::int64_t h = 0; h < c.H; ++h, o += c.Dv) {
        std::vector<std::pair<Complex, const Complex*>> seen;  // score and value
        double most = -HUGE_VAL;
        for (const auto& [y, x] : places(i)) {
          const bool inside = y >= 0 && x >= 0 && y < c.key.rows && x < c.key.columns;
          if (!inside && !zeros_outside) continue;
          const std::int64_t j = y * c.key.columns + x;
          seen.emplace_back(score(b, h, i, y, x, inside ? call.key(b, h, j) : nothing.data()),
                            inside ? call.value(b, h, j) : nothing.data());
          most = std::max(most, std::real(seen.back().first));
        }
        Complex total{};
        for (const auto& [s, v] : seen) {
          const Complex weight = std::exp(s - Complex(most));
          total += weight;
          for (std::int64_t d = 0; d < c.Dv; ++d) o[d] += weight * v[d];
        }
        for (std::int64_t d = 0; d < c.Dv; ++d) o[d] /= total;
      }
  return out;
}

/// sum of a[d] b[d].
inline Complex plain_dot(const Complex* a, const Complex* b, std::int64_t D) {
  Complex sum{};
  for (std::int64_t d = 0; d < D; ++d) sum += a[d] * b[d];
  return sum;
}

}  // namespace locant
