#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "io/image.h"

namespace locant {

/// Sides of a picture or mask in pixels.
struct ImageSize {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  friend bool operator==(const ImageSize&, const ImageSize&) = default;
};

/// A place in a picture: x to the right, y down, in pixels.
struct PromptPoint {
  double x = 0.0;
  double y = 0.0;
};

/// Two corners, (x0, y0) upper left and (x1, y1) lower right, in pixels.
struct PromptBox {
  double x0 = 0.0, y0 = 0.0, x1 = 0.0, y1 = 0.0;
};

/// From a picture's pixels to a model whose input has a long side of `target_length`. Official name and
/// arithmetic: segment_anything/utils/transforms.py.
class ResizeLongestSide {
 public:
  /// Throws Error outside 1 ... 16384.
  explicit ResizeLongestSide(std::int64_t target_length);

  std::int64_t target_length() const { return target_length_; }
  /// int(side * scale + 0.5), scale = target_length / longer side. Throws Error for a side below 1, more than
  /// 2^28 pixels, and a picture so thin that its short side would round to 0.
  ImageSize target_size(ImageSize picture) const;
  /// Pillow's antialiased bilinear resize of 8-bit RGB to target_size. Throws Error as above.
  Image apply_image(const Image& image) const;
  /// Coordinates of the picture -> of the resized picture, x * (new columns / columns); no rounding.
  std::vector<PromptPoint> apply_coords(std::span<const PromptPoint> points, ImageSize picture) const;
  std::vector<PromptBox> apply_boxes(std::span<const PromptBox> boxes, ImageSize picture) const;

 private:
  std::int64_t target_length_;
};

/// How SAM's encoders want their pixels, on the scale 0 ... 255.
struct SamNormalisation {
  std::array<float, 3> mean = {123.675f, 116.28f, 103.53f};
  std::array<float, 3> std = {58.395f, 57.12f, 57.375f};
};

/// Resized picture -> encoder input (1, 3, image_size, image_size): (value - mean) / std, then zeros on the
/// right and below. Throws Error when a side exceeds image_size.
Tensor sam_input(const Image& resized, std::int64_t image_size, const SamNormalisation& normalisation = {});

}  // namespace locant
