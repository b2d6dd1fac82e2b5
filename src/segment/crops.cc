#include "segment/crops.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace locant {
namespace {

constexpr std::int64_t kMaxLayers = 6;
constexpr std::int64_t kMaxPointsPerSide = 1024;

void check_layers(std::int64_t layers, const char* op) {
  require(layers >= 0 && layers <= kMaxLayers, op, "{} crop layers: 0 to {} are allowed", layers, kMaxLayers);
}

/// A side cut into `count` crops, each `overlap` longer than its share.
struct Cuts {
  std::int64_t length = 0;
  std::vector<std::int64_t> starts;
};

Cuts cut(std::int64_t side, std::int64_t count, std::int64_t overlap) {
  Cuts out;
  out.length = (overlap * (count - 1) + side + count - 1) / count;  // rounded up
  for (std::int64_t i = 0; i < count; ++i) out.starts.push_back((out.length - overlap) * i);
  return out;
}

}  // namespace

std::vector<PromptPoint> build_point_grid(std::int64_t points_per_side) {
  require(points_per_side >= 1 && points_per_side <= kMaxPointsPerSide, "point_grid",
          "{} points a side: 1 to {} are allowed", points_per_side, kMaxPointsPerSide);
  const auto n = static_cast<double>(points_per_side);
  const double first = 1.0 / (2.0 * n), last = 1.0 - first;
  // As numpy: i * step + start, and the last one exactly.
  std::vector<double> line;
  for (std::int64_t i = 0; i < points_per_side; ++i)
    line.push_back(static_cast<double>(i) * ((last - first) / std::max(n - 1.0, 1.0)) + first);
  if (points_per_side > 1) line.back() = last;
  std::vector<PromptPoint> out;
  out.reserve(line.size() * line.size());
  for (const double y : line)
    for (const double x : line) out.push_back({x, y});
  return out;
}

std::vector<std::vector<PromptPoint>> build_all_layer_point_grids(std::int64_t points_per_side,
                                                                  std::int64_t layers,
                                                                  std::int64_t downscale) {
  check_layers(layers, "point_grid");
  require(downscale >= 1 && downscale <= kMaxPointsPerSide, "point_grid",
          "downscale factor {}: 1 to {} is allowed", downscale, kMaxPointsPerSide);
  std::vector<std::vector<PromptPoint>> out;
  std::int64_t divisor = 1;
  for (std::int64_t i = 0; i <= layers; ++i, divisor *= downscale) {
    const std::int64_t n = points_per_side / divisor;
    require(n >= 1, "point_grid", "{} points a side and downscale factor {} leave none in crop layer {}",
            points_per_side, downscale, i);
    out.push_back(build_point_grid(n));
  }
  return out;
}

CropBoxes generate_crop_boxes(ImageSize picture, std::int64_t layers, double overlap_ratio) {
  check_layers(layers, "crop_boxes");
  require(picture.rows >= 1 && picture.columns >= 1, "crop_boxes",
          "a picture of {} x {} pixels: sides start at 1", picture.columns, picture.rows);
  require(overlap_ratio >= 0.0 && overlap_ratio < 1.0, "crop_boxes",
          "overlap ratio {}: 0 to below 1 is allowed", overlap_ratio);
  CropBoxes out{{{0, 0, picture.columns, picture.rows}}, {0}};
  const auto shorter = static_cast<double>(std::min(picture.rows, picture.columns));
  for (std::int64_t layer = 1; layer <= layers; ++layer) {
    const std::int64_t count = std::int64_t{1} << layer;
    const auto overlap =
        static_cast<std::int64_t>(overlap_ratio * shorter * (2.0 / static_cast<double>(count)));
    const Cuts across = cut(picture.columns, count, overlap), down = cut(picture.rows, count, overlap);
    for (const std::int64_t x0 : across.starts) {
      for (const std::int64_t y0 : down.starts) {
        const PixelBox box{x0, y0, std::min(x0 + across.length, picture.columns),
                           std::min(y0 + down.length, picture.rows)};
        require(box.x0 < box.x1 && box.y0 < box.y1, "crop_boxes",
                "{} x {} crops of a picture of {} x {} pixels leave a crop without a pixel; use fewer layers",
                count, count, picture.columns, picture.rows);
        out.boxes.push_back(box);
        out.layers.push_back(layer);
      }
    }
  }
  return out;
}

}  // namespace locant
