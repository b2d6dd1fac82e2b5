#include "position/rope.h"

#include "core/error.h"

namespace locant {

RotaryTable rope_table(std::int64_t N, std::int64_t d_rot, std::int64_t first, double base) {
  require(N >= 0 && d_rot >= 2 && d_rot % 2 == 0 && base > 0 && std::isfinite(base), "rope",
          "{} positions, {} rotated channels, base {}; channels come in pairs, and the base is above 0", N,
          d_rot, base);
  Tensor angles({N, d_rot / 2});
  for (std::int64_t n = 0; n < N; ++n)
    for (std::int64_t t = 0; t < d_rot / 2; ++t)
      angles[n * (d_rot / 2) + t] =
          static_cast<float>(static_cast<double>(first + n) * rope_frequency(t, d_rot, base));
  return rotary_table(Var(std::move(angles)));
}

}  // namespace locant
