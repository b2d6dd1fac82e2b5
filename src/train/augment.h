#pragma once

#include <cstdint>

#include "core/rng.h"

namespace locant {

/// Random geometry of a picture; all zero: none.
struct AugmentOptions {
  double shift = 0.0;   ///< pixels: each axis by U(-shift, shift)
  double rotate = 0.0;  ///< degrees: U(-rotate, rotate) about the centre
  double scale = 0.0;   ///< fraction: larger by U(1 - scale, 1 + scale)

  bool any() const { return shift != 0.0 || rotate != 0.0 || scale != 0.0; }
  /// Throws Error for negative or unreasonable values (shift above 10^4, rotate above 180, scale at least 1).
  void check() const;
};

/// A drawn geometry: turn by `angle` (radians, counter-clockwise as seen), enlarge, then move by (shift_y,
/// shift_x) pixels.
struct Geometry {
  double shift_y = 0.0, shift_x = 0.0, angle = 0.0, scale = 1.0;
};
/// Always four draws, so that adding one kind leaves the draws of the others alone.
Geometry draw_geometry(const AugmentOptions& options, Rng& rng);

/// 8-bit planes (channels, rows, columns) -> the same as float, 0 to 255: bilinear, black outside the
/// picture. The identity geometry copies exactly.
void transform_planes(const std::uint8_t* planes, std::int64_t channels, std::int64_t rows,
                      std::int64_t columns, const Geometry& geometry, float* out);

}  // namespace locant
