#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "segment/transforms.h"

namespace locant {

/// A binary mask, row-major, one byte a pixel: 0 or 1.
struct Mask {
  ImageSize size;
  std::vector<std::uint8_t> bits;  ///< (rows, columns)
};

/// Pixels x0 ... x1 and y0 ... y1, both ends inclusive, as the official mask generator's xyxy boxes of masks;
/// crop boxes use the same four numbers with x1, y1 exclusive.
struct PixelBox {
  std::int64_t x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  friend bool operator==(const PixelBox&, const PixelBox&) = default;
};

/// The set pixels' bounding box; 0 0 0 0 for an empty mask (official batched_mask_to_box). Throws Error when
/// the bits are not rows * columns.
PixelBox mask_to_box(const Mask& mask);
/// {x, y, x1 - x0, y1 - y0}: one less than the extent, as the official records have it.
std::array<std::int64_t, 4> box_xyxy_to_xywh(const PixelBox& box);
/// Box of a crop -> of the picture. `crop` is where the crop lies.
PixelBox uncrop_box(const PixelBox& box, const PixelBox& crop);
/// Point of a crop -> of the picture.
PromptPoint uncrop_point(const PromptPoint& point, const PixelBox& crop);
/// Mask of a crop -> of the picture, zeros around. Throws Error when the crop does not fit.
Mask uncrop_mask(const Mask& mask, const PixelBox& crop, ImageSize picture);
/// True when a side of `box` (in the crop) lies within `tolerance` pixels of the crop's side and not as near
/// to the picture's: such an object was cut through.
bool is_box_near_crop_edge(const PixelBox& box, const PixelBox& crop, const PixelBox& picture,
                           double tolerance = 20.0);

/// Throws Error unless sides are at least 1, at most 2^28 pixels, and bits has rows * columns bytes.
void check_mask(const Mask& mask, const char* op);

}  // namespace locant
