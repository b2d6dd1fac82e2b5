#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/tensor.h"
#include "segment/mask.h"

namespace locant {

/// How a picture came into the model: its own size, its size after ResizeLongestSide, and the side of the
/// padded square.
struct SamFrame {
  std::int64_t image_size = 1024;
  ImageSize input;     ///< resized, before padding
  ImageSize original;  ///< the picture
};

/// From low-resolution mask logits to the picture's size, as the official Sam.postprocess_masks: bilinear to
/// (image_size, image_size), the padding cut off, bilinear to the original size (align_corners false, no
/// antialias, borders of the cut array clamped). Both steps are linear along each axis, so they are one step
/// of at most four taps an axis here: the 1024 x 1024 array never exists, and a mask of any size is made row
/// by row from a handful of rows.
class MaskUpscaler {
 public:
  /// `low`: sides of the low-resolution masks. Throws Error for sizes below 1 or above 2^28 pixels, and an
  /// input size that exceeds image_size.
  MaskUpscaler(ImageSize low, const SamFrame& frame);

  ImageSize size() const { return original_; }
  /// Row y from column x0 on.
  using RowSink = std::function<void(std::int64_t y, std::int64_t x0, std::span<const float> logits)>;
  /// Rows of one mask, logits (low rows, low columns), in order. Rows and columns where every logit is below
  /// or at `floor` may be left out; the rest is given whole: small objects of large pictures cost what they
  /// cover.
  void rows(std::span<const float> low, float floor, const RowSink& sink) const;
  /// Rows [begin, end), all columns.
  void rows(std::span<const float> low, std::int64_t begin, std::int64_t end, const RowSink& sink) const;

 private:
  static constexpr int kTaps = 4;
  /// One output position: sum of weight[k] * in[index[k]], k < count; indices grow.
  struct Tap {
    std::array<std::int32_t, kTaps> index{};
    std::array<float, kTaps> weight{};
    std::int32_t count = 0;
  };
  struct Range {
    std::int64_t begin = 0, end = 0;
  };
  static std::vector<Tap> compose(std::int64_t low, std::int64_t middle, std::int64_t cut, std::int64_t out);
  static Range reached(const std::vector<Tap>& taps, std::int64_t first, std::int64_t last);
  void rows(std::span<const float> low, Range y, Range x, const RowSink& sink) const;
  void widen(const float* low_row, Range x, float* out) const;

  ImageSize low_, original_;
  std::vector<Tap> down_, across_;  ///< of output rows and columns
};

/// Logits (.., h, w) -> (.., rows, columns) of the picture. Throws Error for a rank below 2 and as above.
Tensor postprocess_masks(const Tensor& low_res, const SamFrame& frame);

/// Masks logit > threshold of logits (.., h, w), flattened over the leading axes, without the float arrays.
std::vector<Mask> postprocess_binary_masks(const Tensor& low_res, const SamFrame& frame,
                                           float threshold = 0.0f);

}  // namespace locant
