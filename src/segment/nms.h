#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "segment/mask.h"

namespace locant {

/// Non-maximum suppression as torchvision's nms, ties in input order: indices of the boxes that stay, best
/// score first (NaN counts as best, as in a torch sort). A box goes when its intersection over union with a
/// better one, in float32, is strictly above the threshold (float64). Areas are (x1 - x0) (y1 - y0); 0 / 0 is
/// not above anything. O(n^2) at worst. Throws Error when the counts differ.
std::vector<std::size_t> box_nms(std::span<const PixelBox> boxes, std::span<const float> scores,
                                 double iou_threshold);

}  // namespace locant
