#pragma once

#include <cstdint>
#include <vector>

#include "segment/mask.h"

namespace locant {

/// n * n points on the unit square, x fastest, each in the middle of its cell: numpy's
/// linspace(1 / 2n, 1 - 1 / 2n, n) along both axes. Throws Error outside 1 ... 1024.
std::vector<PromptPoint> build_point_grid(std::int64_t points_per_side);

/// Grids of layers 0 ... layers; layer i has int(points_per_side / downscale^i) points a side. Throws Error
/// when a layer would have none, and for a downscale below 1.
std::vector<std::vector<PromptPoint>> build_all_layer_point_grids(std::int64_t points_per_side,
                                                                  std::int64_t layers,
                                                                  std::int64_t downscale);

/// Where to cut a picture; x1 and y1 are exclusive.
struct CropBoxes {
  std::vector<PixelBox> boxes;       ///< the whole picture first, then by layer, x outer, y inner
  std::vector<std::int64_t> layers;  ///< of each box
};

/// Layer i > 0 cuts the picture into 2^i x 2^i crops that overlap by overlap_ratio * shorter side * 2 / 2^i
/// pixels. Throws Error for more than 6 layers, a ratio outside [0, 1), and crops without a pixel.
CropBoxes generate_crop_boxes(ImageSize picture, std::int64_t layers, double overlap_ratio);

}  // namespace locant
