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
  /// resize_short: short side to floor(size / crop_pct) with the aspect kept, then centre crop; squash: straight to
  /// (rows, columns).
  enum class Mode { resize_short, squash } mode = Mode::resize_short;
  double crop_pct = 0.9;
  /// Short side before the crop; 0: from crop_pct.
  std::int64_t resize_to = 0;
  ResizeFilter filter = ResizeFilter::bicubic;
  std::array<float, 3> mean = {0.485f, 0.456f, 0.406f};
  std::array<float, 3> std = {0.229f, 0.224f, 0.225f};

  /// JSON object text, as stored in checkpoint metadata; from_json throws Error on unknown keys or types.
  std::string to_json() const;
  static Preprocess from_json(const std::string& text);
};

/// (channels, rows, columns). (value / 255 - mean) / std, in float32 from float64 arithmetic.
Tensor preprocess(const Image& image, const Preprocess& options);

}  // namespace locant
