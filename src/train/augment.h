#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/rng.h"

namespace locant {

/// What is drawn anew for each picture of each epoch, in this order, each where it is asked for: crop and
/// resize (in place of the model's own preparation), flips, colour jitter or RandAugment, shift, turn and
/// zoom, normalisation, random erasing; then mixing within the batch. Off by default. Names and meanings are
/// timm's, but for shift, rotate and zoom.
struct AugmentOptions {
  double shift = 0.0;   ///< pixels: each axis by U(-shift, shift)
  double rotate = 0.0;  ///< degrees: U(-rotate, rotate) about the centre
  double zoom = 0.0;    ///< fraction: larger by U(1 - zoom, 1 + zoom)

  /// Lowest and highest part of the picture's area that a random resized crop takes (train/random_crop.h);
  /// empty: none.
  std::vector<double> scale{};
  std::vector<double> ratio = {3.0 / 4.0, 4.0 / 3.0};  ///< its columns / rows, lowest and highest
  /// Of that crop and of RandAugment: "bilinear", "bicubic" or "random" of the two; empty: the model's.
  std::string train_interpolation{};
  double hflip = 0.0, vflip = 0.0;  ///< probabilities
  double color_jitter = 0.0;        ///< train/color_jitter.h; unused with `aa`, as in timm
  std::string aa{};                 ///< "rand-m9-mstd0.5-inc1": train/rand_augment.h

  double reprob = 0.0;           ///< random erasing: probability
  std::string remode = "pixel";  ///< "const", "rand", "pixel": train/random_erasing.h
  std::int64_t recount = 1;      ///< most boxes

  double mixup = 0.0, cutmix = 0.0;     ///< a of Beta(a, a); 0: off (train/mixup.h)
  std::vector<double> cutmix_minmax{};  ///< lowest and highest part of a side; turns cutmix on
  double mixup_prob = 1.0;              ///< of mixing at all
  double mixup_switch_prob = 0.5;       ///< of cutmix where both are on
  std::string mixup_mode = "batch";     ///< "batch", "elem", "pair"

  bool moves() const { return shift != 0.0 || rotate != 0.0 || zoom != 0.0; }
  /// The picture changes before it is shifted, turned and zoomed.
  bool changes_picture() const {
    return !scale.empty() || hflip != 0.0 || vflip != 0.0 || color_jitter != 0.0 || !aa.empty();
  }
  bool mixes() const { return mixup != 0.0 || cutmix != 0.0 || !cutmix_minmax.empty(); }
  bool any() const { return moves() || changes_picture() || reprob != 0.0 || mixes(); }
  /// Throws Error for a value out of range or a name that is none.
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
