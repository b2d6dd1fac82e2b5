#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "core/tensor.h"
#include "io/pil_resize.h"

namespace locant {

/// From a picture to a model's input: resize, crop, scale to [0, 1], normalise.
struct Preprocess {
  std::int64_t rows = 224;  ///< size that goes into the model
  std::int64_t columns = 224;
  std::int64_t channels = 3;  ///< 1: luma (ITU-R 601, as PIL's convert("L"))
  /// resize_short: short side to resize_to or floor(size / crop_pct), long side int(that * long / short) as
  /// in torchvision, then its centre crop (origin rounded half to even; zeros around what is smaller than the
  /// crop). Where rows != columns: the smallest picture that covers both scaled sides, as timm's keep-ratio
  /// resize. squash: straight to (rows, columns), crop_pct and resize_to unused.
  enum class Mode { resize_short, squash } mode = Mode::resize_short;
  double crop_pct = 0.9;
  /// Short side before the crop (of the target's shorter side where rows != columns); 0: from crop_pct.
  std::int64_t resize_to = 0;
  ResizeFilter filter = ResizeFilter::bicubic;
  std::array<float, 3> mean = {0.485f, 0.456f, 0.406f};
  std::array<float, 3> std = {0.229f, 0.224f, 0.225f};

  /// JSON object text, as stored in checkpoint metadata. from_json: keys that are absent keep their defaults;
  /// throws Error on unknown keys, wrong types and values out of range.
  std::string to_json() const;
  static Preprocess from_json(const std::string& text);
};

/// (channels, rows, columns). (value / 255 - mean) / std, in float32 from float64 arithmetic. One channel:
/// the picture becomes luma before it is resized, and mean[0], std[0] count. Throws Error for options out of
/// range: sizes 1 to 16384, crop_pct 0.01 to 1, channels 1 or 3, std above 0.
Tensor preprocess(const Image& image, const Preprocess& options);

}  // namespace locant
