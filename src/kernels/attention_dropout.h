#pragma once

#include <cstdint>

#include "core/rng.h"

namespace locant {

/// Counter-based dropout of attention probabilities. A row (b, g, h, i) has a 32-bit key; number j of the row
/// is kept when the mix of both is at least the threshold. 32-bit multiplications and shifts only, so that
/// every instruction set makes the same bits.
constexpr std::uint32_t dropout_row_key(std::uint64_t seed, std::int64_t unit, std::int64_t i) {
  return static_cast<std::uint32_t>(splitmix64(splitmix64(seed) +
                                               0x9E3779B97F4A7C15ULL * static_cast<std::uint64_t>(unit) +
                                               splitmix64(static_cast<std::uint64_t>(i))) >>
                                    32);
}

/// Finaliser of MurmurHash3 (Appleby, public domain).
constexpr std::uint32_t dropout_mix(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x85EBCA6BU;
  x = (x ^ (x >> 13)) * 0xC2B2AE35U;
  return x ^ (x >> 16);
}

/// Number j of the row is kept when this is at least dropout_threshold(p).
constexpr std::uint32_t dropout_draw(std::uint32_t row_key, std::int64_t j) {
  return dropout_mix(row_key ^ (static_cast<std::uint32_t>(j) * 0x9E3779B9U));
}

/// p 2^32; p in [0, 1).
constexpr std::uint32_t dropout_threshold(float p) {
  return static_cast<std::uint32_t>(static_cast<double>(p) * 4294967296.0);
}

}  // namespace locant
