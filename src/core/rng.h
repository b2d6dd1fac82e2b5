#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace locant {

/// One step of SplitMix64 (Steele, Lea, Flood 2014): a 64-bit mixing of its input.
constexpr std::uint64_t splitmix64(std::uint64_t x) {
  std::uint64_t z = x + 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

/// FNV-1a, 64 bits: a stream of its own for a name.
constexpr std::uint64_t fnv1a64(std::string_view bytes) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

/// Counter-based generator: number i of stream `seed` is a pure function of both, so a state is two integers
/// and a run can be resumed anywhere.
class Rng {
 public:
  explicit Rng(std::uint64_t seed = 0, std::uint64_t counter = 0) : seed_(seed), counter_(counter) {}

  std::uint64_t next() { return splitmix64(splitmix64(seed_) + 0x9E3779B97F4A7C15ULL * counter_++); }
  /// Uniform in [0, 1), 24 bits.
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }
  /// Uniform in [0, n) without bias worth naming for n far below 2^32.
  std::uint64_t below(std::uint64_t n) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  /// Standard normal (Box-Muller, one number a call).
  float normal() {
    const double u = (static_cast<double>(next() >> 11) + 0.5) * 0x1p-53;
    const double v = static_cast<double>(next() >> 11) * 0x1p-53;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
  }

  std::uint64_t seed() const { return seed_; }
  std::uint64_t counter() const { return counter_; }

 private:
  std::uint64_t seed_;
  std::uint64_t counter_;
};

}  // namespace locant
