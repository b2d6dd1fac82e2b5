#include "segment/mask.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/error.h"

namespace locant {

void check_mask(const Mask& mask, const char* op) {
  constexpr std::int64_t kMaxPixels = 1 << 28;
  require(mask.size.rows >= 1 && mask.size.columns >= 1 && mask.size.rows <= kMaxPixels / mask.size.columns,
          op, "a mask of {} x {} pixels: sides start at 1, {} pixels are the most", mask.size.columns,
          mask.size.rows, kMaxPixels);
  require(mask.bits.size() == static_cast<std::size_t>(mask.size.rows * mask.size.columns), op,
          "{} bytes are no mask of {} x {} pixels", mask.bits.size(), mask.size.columns, mask.size.rows);
}

PixelBox mask_to_box(const Mask& mask) {
  check_mask(mask, "mask_to_box");
  const std::int64_t columns = mask.size.columns;
  PixelBox box{columns, -1, -1, -1};
  for (std::int64_t y = 0; y < mask.size.rows; ++y) {
    const std::uint8_t* row = mask.bits.data() + y * columns;
    const void* first = std::memchr(row, 1, static_cast<std::size_t>(columns));
    if (first == nullptr) continue;
    std::int64_t last = columns - 1;
    while (row[last] == 0) --last;
    if (box.y0 < 0) box.y0 = y;
    box.y1 = y;
    box.x0 = std::min<std::int64_t>(box.x0, static_cast<const std::uint8_t*>(first) - row);
    box.x1 = std::max(box.x1, last);
  }
  return box.y0 < 0 ? PixelBox{} : box;
}

std::array<std::int64_t, 4> box_xyxy_to_xywh(const PixelBox& box) {
  return {box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0};
}

PixelBox uncrop_box(const PixelBox& box, const PixelBox& crop) {
  return {box.x0 + crop.x0, box.y0 + crop.y0, box.x1 + crop.x0, box.y1 + crop.y0};
}

PromptPoint uncrop_point(const PromptPoint& point, const PixelBox& crop) {
  return {point.x + static_cast<double>(crop.x0), point.y + static_cast<double>(crop.y0)};
}

Mask uncrop_mask(const Mask& mask, const PixelBox& crop, ImageSize picture) {
  check_mask(mask, "uncrop_mask");
  require(crop.x0 >= 0 && crop.y0 >= 0 && crop.x0 + mask.size.columns <= picture.columns &&
              crop.y0 + mask.size.rows <= picture.rows,
          "uncrop_mask", "a mask of {} x {} pixels at ({}, {}) reaches outside a picture of {} x {}",
          mask.size.columns, mask.size.rows, crop.x0, crop.y0, picture.columns, picture.rows);
  if (mask.size == picture) return mask;
  Mask out{picture, std::vector<std::uint8_t>(static_cast<std::size_t>(picture.rows * picture.columns))};
  for (std::int64_t y = 0; y < mask.size.rows; ++y) {
    std::copy_n(mask.bits.data() + y * mask.size.columns, mask.size.columns,
                out.bits.data() + (y + crop.y0) * picture.columns + crop.x0);
  }
  return out;
}

bool is_box_near_crop_edge(const PixelBox& box, const PixelBox& crop, const PixelBox& picture,
                           double tolerance) {
  const PixelBox whole = uncrop_box(box, crop);
  const auto cut = [tolerance](std::int64_t side, std::int64_t crop_side, std::int64_t picture_side) {
    return static_cast<double>(std::abs(side - crop_side)) <= tolerance &&
           static_cast<double>(std::abs(side - picture_side)) > tolerance;
  };
  return cut(whole.x0, crop.x0, picture.x0) || cut(whole.y0, crop.y0, picture.y0) ||
         cut(whole.x1, crop.x1, picture.x1) || cut(whole.y1, crop.y1, picture.y1);
}

}  // namespace locant
