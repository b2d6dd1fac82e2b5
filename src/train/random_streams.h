#pragma once

#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "core/rng.h"

namespace locant {

/// What a random number of a training run is for. Every draw is a pure function of (seed, purpose, a, b), so
/// a run has no generator state to save and no draw depends on threads.
enum class RandomPurpose : std::uint64_t { shuffle = 1, augment = 2, model = 3 };

inline Rng random_stream(std::uint64_t seed, RandomPurpose purpose, std::uint64_t a, std::uint64_t b = 0) {
  const std::uint64_t key = splitmix64(splitmix64(seed) ^ static_cast<std::uint64_t>(purpose));
  return Rng(splitmix64(splitmix64(key ^ a) ^ b));
}

/// The order of an epoch's pictures: a permutation of 0 ... count - 1 (Fisher-Yates).
inline std::vector<std::int64_t> shuffled_order(std::uint64_t seed, std::int64_t epoch, std::int64_t count) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  Rng rng = random_stream(seed, RandomPurpose::shuffle, static_cast<std::uint64_t>(epoch));
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
  return order;
}

}  // namespace locant
