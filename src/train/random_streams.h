#pragma once

#include <cstdint>

#include "core/rng.h"

namespace locant {

/// What a random number of a training run is for. Every draw is a pure function of (seed, purpose, a, b), so
/// a run has no generator state to save and no draw depends on threads.
enum class RandomPurpose : std::uint64_t { shuffle = 1, augment = 2, model = 3 };

inline Rng random_stream(std::uint64_t seed, RandomPurpose purpose, std::uint64_t a, std::uint64_t b = 0) {
  const std::uint64_t key = splitmix64(splitmix64(seed) ^ static_cast<std::uint64_t>(purpose));
  return Rng(splitmix64(splitmix64(key ^ a) ^ b));
}

}  // namespace locant
