#include "ops/rotate.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/parallel.h"
#include "core/profile.h"
#include "ops/reduce_inl.h"

namespace locant {
namespace {

struct RotateSizes {
  std::int64_t B, prefix, N, H, D, P;
  std::int64_t head_step = 0;         ///< angles from one head to the next; 0: shared
  std::int64_t second = 1, step = 1;  ///< channel of pair p: p * step, and `second` behind it

  std::int64_t token_step() const { return head_step == 0 ? P : H * P; }
  std::int64_t angle(std::int64_t n, std::int64_t h) const { return n * token_step() + h * head_step; }
  std::int64_t place(std::int64_t b, std::int64_t n, std::int64_t h) const {
    return ((b * (prefix + N) + prefix + n) * H + h) * D;
  }
};

RotateSizes sizes_of(const Shape& x, std::int64_t heads, const RotaryTable& t, Pairing pairing,
                     std::int64_t prefix) {
  const Shape& angles = t.cosines.shape();
  const bool per_head = angles.rank() == 3;
  const std::int64_t P = angles[-1];
  if (x.rank() != 3 || heads < 1 || x[2] % heads != 0 || prefix < 0 || x[1] != prefix + angles[0] ||
      2 * P > x[2] / heads || (per_head && angles[1] != heads))
    fail("rotate",
         "x {} and angles {} do not fit {} heads and {} prefix tokens; angles must be (N, P) or (N, H, P) "
         "with 2 P at most the head's width",
         x.str(), angles.str(), heads, prefix);
  RotateSizes s{x[0], prefix, angles[0], heads, x[2] / heads, P};
  s.head_step = per_head ? P : 0;
  s.second = pairing == Pairing::halves ? P : 1;
  s.step = pairing == Pairing::halves ? 1 : 2;
  return s;
}

// A head's pairs; sign -1: the inverse.
template <Pairing kPairing>
void turn(std::int64_t P, const float* __restrict from, const float* __restrict cosine,
          const float* __restrict sine, float sign, float* __restrict to) {
  for (std::int64_t p = 0; p < P; ++p) {
    const std::int64_t at = kPairing == Pairing::halves ? p : 2 * p;
    const std::int64_t second = at + (kPairing == Pairing::halves ? P : 1);
    const float one = from[at], other = from[second];
    to[at] = one * cosine[p] - sign * other * sine[p];
    to[second] = other * cosine[p] + sign * one * sine[p];
  }
}

Tensor turned(const RotateSizes& s, const Tensor& x, const RotaryTable& t, float sign) {
  Tensor y(x.shape());
  const std::int64_t row = s.H * s.D;
  parallel_for(s.B * (s.prefix + s.N), row_grain(row), [&](std::int64_t begin, std::int64_t end) {
    if (s.prefix > 0 || 2 * s.P < s.D)  // what does not turn
      std::copy(x.data() + begin * row, x.data() + end * row, y.data() + begin * row);
    for (std::int64_t at = begin; at < end; ++at) {
      const std::int64_t b = at / (s.prefix + s.N), n = at % (s.prefix + s.N) - s.prefix;
      for (std::int64_t h = 0; n >= 0 && h < s.H; ++h) {
        const float *cosine = t.cosines.data() + s.angle(n, h), *sine = t.sines.data() + s.angle(n, h);
        const float* from = x.data() + s.place(b, n, h);
        float* to = y.data() + s.place(b, n, h);
        if (s.step == 1)
          turn<Pairing::halves>(s.P, from, cosine, sine, sign, to);
        else
          turn<Pairing::neighbours>(s.P, from, cosine, sine, sign, to);
      }
    }
  });
  return y;
}

Tensor angle_gradient(const RotateSizes& s, const Tensor& y, const Tensor& dy, const Shape& shape) {
  Tensor out = Tensor::zeros(shape);
  parallel_for(s.N, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n)
      for (std::int64_t b = 0; b < s.B; ++b)
        for (std::int64_t h = 0; h < s.H; ++h) {
          const float *value = y.data() + s.place(b, n, h), *g = dy.data() + s.place(b, n, h);
          float* to = out.data() + s.angle(n, h);
          for (std::int64_t p = 0; p < s.P; ++p)
            to[p] +=
                g[p * s.step + s.second] * value[p * s.step] - g[p * s.step] * value[p * s.step + s.second];
        }
  });
  return out;
}

}  // namespace

RotaryTable rotary_table(const Var& angles) {
  const int rank = angles.shape().rank();
  require(rank == 2 || rank == 3, "rotate", "angles of shape {}; (N, P) or (N, H, P) was expected",
          angles.shape().str());
  RotaryTable out{angles, Tensor(angles.shape()), Tensor(angles.shape())};
  for (std::int64_t i = 0; i < angles.value().numel(); ++i) {
    out.cosines[i] = std::cos(angles.value()[i]);
    out.sines[i] = std::sin(angles.value()[i]);
  }
  return out;
}

Var rotate(const Context& ctx, const Var& x, std::int64_t heads, const RotaryTable& table, Pairing pairing,
           std::int64_t prefix) {
  const ProfileScope scope("rotate");
  const RotateSizes s = sizes_of(x.shape(), heads, table, pairing, prefix);
  const Tensor y = turned(s, x.value(), table, 1.0f);
  return ctx.record({x, table.angles}, y, [=](const Tensor& dy) {
    const ProfileScope inner("rotate");
    if (x.requires_grad()) x.accumulate(turned(s, dy, table, -1.0f));
    if (table.angles.requires_grad()) table.angles.accumulate(angle_gradient(s, y, dy, table.angles.shape()));
  });
}

}  // namespace locant
