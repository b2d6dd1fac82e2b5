#pragma once

#include <cstdint>

namespace locant {

/// A grid of tokens, row-major, frames slowest. rows = 1: a sequence.
struct Grid {
  std::int64_t frames = 1, rows = 1, columns = 1;
  constexpr std::int64_t tokens() const { return frames * rows * columns; }
};

/// A window of tokens, row-major.
struct Window {
  std::int64_t rows = 7, columns = 7;
  constexpr std::int64_t tokens() const { return rows * columns; }
  friend constexpr bool operator==(const Window& a, const Window& b) {
    return a.rows == b.rows && a.columns == b.columns;
  }
};

}  // namespace locant
