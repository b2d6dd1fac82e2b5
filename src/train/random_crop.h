#pragma once

#include <cstdint>
#include <vector>

#include "core/rng.h"
#include "io/pil_resize.h"

namespace locant {

/// The box of a random resized crop of a picture of rows x columns pixels (Szegedy et al. 2015, "Going Deeper
/// with Convolutions", section 6; rounding and fallback as in timm's RandomResizedCropAndInterpolation):
///   area = U(scale) rows columns, aspect = exp(U(log ratio)),
///   columns' = round(sqrt(area aspect)), rows' = round(sqrt(area / aspect)), anywhere in the picture,
/// up to ten times until that fits, else the largest central box whose aspect (columns / rows) lies within
/// `ratio`. A side is at least 1 pixel. `scale`, `ratio`: lowest and highest.
ResizeWindow draw_crop(std::int64_t rows, std::int64_t columns, const std::vector<double>& scale,
                       const std::vector<double>& ratio, Rng& rng);

}  // namespace locant
