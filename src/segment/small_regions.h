#pragma once

#include <cstdint>

#include "segment/mask.h"

namespace locant {

enum class RegionMode {
  holes,    ///< fill connected stretches of zeros (those at the border too) smaller than the threshold
  islands,  ///< clear connected stretches of ones smaller than the threshold; all small: the largest stays
};

/// Official remove_small_regions: 8-connected components whose area is below `area_threshold` change side. Of
/// equally large islands the first in a scan of 2 x 2 blocks stays. Memory goes with the number of runs, not
/// of pixels. Returns whether anything was changed. Throws Error when the bits are not rows * columns.
bool remove_small_regions(Mask& mask, double area_threshold, RegionMode mode);

}  // namespace locant
