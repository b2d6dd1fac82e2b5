#include "segment/transforms.h"

#include <algorithm>

#include "core/error.h"
#include "core/parallel.h"
#include "io/pil_resize.h"

namespace locant {
namespace {

constexpr std::int64_t kMaxLength = 16384;
constexpr std::int64_t kMaxPlanePixels = 1 << 28;

}  // namespace

ResizeLongestSide::ResizeLongestSide(std::int64_t target_length) : target_length_(target_length) {
  require(target_length >= 1 && target_length <= kMaxLength, "resize_longest_side",
          "target length {}: 1 to {} is allowed", target_length, kMaxLength);
}

ImageSize ResizeLongestSide::target_size(ImageSize picture) const {
  require(picture.rows >= 1 && picture.columns >= 1, "resize_longest_side",
          "a picture of {} x {} pixels: sides start at 1", picture.columns, picture.rows);
  require(picture.rows <= kMaxPlanePixels / picture.columns, "resize_longest_side",
          "a picture of {} x {} pixels has more than {}; make it smaller", picture.columns, picture.rows,
          kMaxPlanePixels);
  const double longer = static_cast<double>(std::max(picture.rows, picture.columns));
  const double scale = static_cast<double>(target_length_) / longer;
  const auto side = [scale](std::int64_t length) {
    return static_cast<std::int64_t>(static_cast<double>(length) * scale + 0.5);
  };
  const ImageSize target = {side(picture.rows), side(picture.columns)};
  require(target.rows >= 1 && target.columns >= 1, "resize_longest_side",
          "a picture of {} x {} pixels is too thin: with a long side of {} nothing is left of its short one; "
          "crop it",
          picture.columns, picture.rows, target_length_);
  return target;
}

Image ResizeLongestSide::apply_image(const Image& image) const {
  const ImageSize target = target_size({image.rows, image.columns});
  return pil_resize(image, target.columns, target.rows, ResizeFilter::bilinear);
}

std::vector<PromptPoint> ResizeLongestSide::apply_coords(std::span<const PromptPoint> points,
                                                         ImageSize picture) const {
  const ImageSize target = target_size(picture);
  const double scale_x = static_cast<double>(target.columns) / static_cast<double>(picture.columns);
  const double scale_y = static_cast<double>(target.rows) / static_cast<double>(picture.rows);
  std::vector<PromptPoint> out;
  out.reserve(points.size());
  for (const PromptPoint& point : points) out.push_back({point.x * scale_x, point.y * scale_y});
  return out;
}

std::vector<PromptBox> ResizeLongestSide::apply_boxes(std::span<const PromptBox> boxes,
                                                      ImageSize picture) const {
  std::vector<PromptPoint> corners;
  corners.reserve(2 * boxes.size());
  for (const PromptBox& box : boxes) {
    corners.push_back({box.x0, box.y0});
    corners.push_back({box.x1, box.y1});
  }
  const std::vector<PromptPoint> moved = apply_coords(corners, picture);
  std::vector<PromptBox> out;
  out.reserve(boxes.size());
  for (std::size_t i = 0; i < moved.size(); i += 2)
    out.push_back({moved[i].x, moved[i].y, moved[i + 1].x, moved[i + 1].y});
  return out;
}

Tensor sam_input(const Image& resized, std::int64_t image_size, const SamNormalisation& normalisation) {
  require(image_size >= 1 && image_size <= kMaxLength, "sam_input", "image size {}: 1 to {} is allowed",
          image_size, kMaxLength);
  require(resized.rows >= 1 && resized.columns >= 1 && resized.rows <= image_size &&
              resized.columns <= image_size,
          "sam_input", "a picture of {} x {} pixels does not fit into {} x {}; resize its longer side first",
          resized.columns, resized.rows, image_size, image_size);
  require(resized.rgb.size() == static_cast<std::size_t>(3 * resized.rows * resized.columns), "sam_input",
          "{} bytes are no picture of {} x {} pixels", resized.rgb.size(), resized.columns, resized.rows);
  // In float32 as the official code has it: a table of all bytes gives the same bits.
  std::array<std::array<float, 256>, 3> table;
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t v = 0; v < 256; ++v)
      table[c][v] = (static_cast<float>(v) - normalisation.mean[c]) / normalisation.std[c];
  Tensor out({1, 3, image_size, image_size});
  parallel_for(3 * image_size, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int64_t c = line / image_size, y = line % image_size;
      float* row = out.data() + line * image_size;
      const std::int64_t filled = y < resized.rows ? resized.columns : 0;
      const std::uint8_t* pixel = filled > 0 ? resized.rgb.data() + 3 * y * resized.columns + c : nullptr;
      for (std::int64_t x = 0; x < filled; ++x) row[x] = table[static_cast<std::size_t>(c)][pixel[3 * x]];
      std::fill(row + filled, row + image_size, 0.0f);
    }
  });
  return out;
}

}  // namespace locant
