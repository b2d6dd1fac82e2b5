#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "core/rng.h"

namespace locant {

/// What a random number of a training run is for. Every draw is a pure function of (seed, purpose, a, b), so
/// a run has no generator state to save and no draw depends on threads.
enum class RandomPurpose : std::uint64_t {
  shuffle = 1,
  augment = 2,  ///< shift, turn and zoom
  model = 3,
  crop = 4,
  flip = 5,
  color_jitter = 6,
  rand_augment = 7,
  erase = 8,
  mix = 9
};

inline Rng random_stream(std::uint64_t seed, RandomPurpose purpose, std::uint64_t a, std::uint64_t b = 0) {
  const std::uint64_t key = splitmix64(splitmix64(seed) ^ static_cast<std::uint64_t>(purpose));
  return Rng(splitmix64(splitmix64(key ^ a) ^ b));
}

/// Uniform in [low, high).
inline double uniform_in(Rng& rng, double low, double high) {
  return low + (high - low) * static_cast<double>(rng.uniform());
}
inline bool happens(Rng& rng, double probability) { return static_cast<double>(rng.uniform()) < probability; }

/// The order of an epoch's pictures: a permutation of 0 ... count - 1 (Fisher-Yates).
inline std::vector<std::int64_t> shuffled_order(std::uint64_t seed, std::int64_t epoch, std::int64_t count) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  Rng rng = random_stream(seed, RandomPurpose::shuffle, static_cast<std::uint64_t>(epoch));
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

}  // namespace locant
