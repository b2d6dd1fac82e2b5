#include "segment/nms.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"

namespace locant {
namespace {

struct FloatBox {
  float x0, y0, x1, y1, area;
};

FloatBox to_float(const PixelBox& box) {
  FloatBox out{static_cast<float>(box.x0), static_cast<float>(box.y0), static_cast<float>(box.x1),
               static_cast<float>(box.y1), 0.0f};
  out.area = (out.x1 - out.x0) * (out.y1 - out.y0);
  return out;
}

float intersection_over_union(const FloatBox& a, const FloatBox& b) {
  const float width = std::max(0.0f, std::min(a.x1, b.x1) - std::max(a.x0, b.x0));
  const float height = std::max(0.0f, std::min(a.y1, b.y1) - std::max(a.y0, b.y0));
  const float shared = width * height;
  return shared / (a.area + b.area - shared);
}

}  // namespace

std::vector<std::size_t> box_nms(std::span<const PixelBox> boxes, std::span<const float> scores,
                                 double iou_threshold) {
  require(boxes.size() == scores.size(), "box_nms", "{} boxes and {} scores", boxes.size(), scores.size());
  std::vector<std::size_t> order(boxes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (std::isnan(scores[b])) return false;
    return std::isnan(scores[a]) || scores[a] > scores[b];
  });
  std::vector<FloatBox> sorted;
  sorted.reserve(boxes.size());
  for (const std::size_t i : order) sorted.push_back(to_float(boxes[i]));

  std::vector<std::size_t> keep;
  std::vector<bool> gone(boxes.size(), false);
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (gone[i]) continue;
    keep.push_back(order[i]);
    for (std::size_t j = i + 1; j < sorted.size(); ++j) {
      if (!gone[j] && static_cast<double>(intersection_over_union(sorted[i], sorted[j])) > iou_threshold)
        gone[j] = true;
    }
  }
  return keep;
}

}  // namespace locant
