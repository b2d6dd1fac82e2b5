#include "position/sinusoidal_1d.h"

#include <numeric>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {

namespace {
constexpr const char* kSinusoidal1dName = "sinusoidal_1d";
}

Tensor sinusoidal_1d(SinusoidLayout layout, const std::vector<double>& positions, std::int64_t C,
                     double temperature) {
  const auto N = static_cast<std::int64_t>(positions.size());
  require(
      C >= 1 && temperature > 0 && std::isfinite(temperature), kSinusoidal1dName,
      "{} positions of width {}, temperature {}; a width of 1 or more and a positive number were expected", N,
      C, temperature);
  Tensor out({1, N, C});
  std::vector<SinusoidChannel> waves;
  for (std::int64_t channel = 0; channel < C; ++channel)
    waves.push_back(sinusoidal_1d_channel(layout, channel, C, temperature));
  parallel_for(N, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n)
      for (std::int64_t channel = 0; channel < C; ++channel)
        out[n * C + channel] = static_cast<float>(
            waves[static_cast<std::size_t>(channel)].at(positions[static_cast<std::size_t>(n)]));
  });
  return out;
}

Tensor sinusoidal_1d(SinusoidLayout layout, std::int64_t N, std::int64_t C, double temperature) {
  require(N >= 0 && N <= (std::int64_t{1} << 29), kSinusoidal1dName, "{} positions; 0 to 2^29 were expected",
          N);
  std::vector<double> positions(static_cast<std::size_t>(N));
  std::iota(positions.begin(), positions.end(), 0.0);
  return sinusoidal_1d(layout, positions, C, temperature);
}

}  // namespace locant
