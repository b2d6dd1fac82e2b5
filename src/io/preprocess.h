#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "io/pil_resize.h"

namespace locant {

/// From a picture to a model's input: resize, crop, scale to [0, 1], normalise.
struct Preprocess {
  std::int64_t rows = 224;  ///< size that goes into the model
  std::int64_t columns = 224;
  std::int64_t channels = 3;  ///< 1: luma (ITU-R 601, as PIL's convert("L")); pictures give 1 or 3
  /// resize_short: short side to resize_to or floor(size / crop_pct), long side int(that * long / short) as
  /// in torchvision, then the centre crop (zeros around what is smaller). Where rows != columns: the smallest
  /// picture that covers both scaled sides, as timm's keep-ratio resize.
  /// squash: straight to (squash_rows, squash_columns), then the centre crop; crop_pct, resize_to unused.
  /// short_side: short side to resize_to whatever the target's sides are, as transformers' shortest_edge.
  /// border: the largest picture that floor(size / crop_pct) holds, each side rounded, then crop or pad with
  /// round(255 * mean), as timm's crop_mode border; resize_to unused.
  /// keep: no resize.
  enum class Mode { resize_short, squash, short_side, border, keep } mode = Mode::resize_short;
  double crop_pct = 0.9;
  /// Short side before the crop (of the target's shorter side where rows != columns); 0: from crop_pct.
  std::int64_t resize_to = 0;
  ResizeFilter filter = ResizeFilter::bicubic;
  /// As many as channels; one channel may have three of which the first counts.
  std::vector<float> mean = {0.485f, 0.456f, 0.406f};
  std::vector<float> std = {0.229f, 0.224f, 0.225f};
  /// What squash makes before the crop; 0, 0: rows, columns.
  std::int64_t squash_rows = 0, squash_columns = 0;
  /// Where the crop begins, (in - out) / 2. round_half_even: torchvision and timm; what is smaller than the
  /// crop has its odd pixel of border right and bottom. floor: transformers' PIL back end; of a negative
  /// number too, so that the odd pixel is left and top.
  enum class CropOrigin { round_half_even, floor } crop_origin = CropOrigin::round_half_even;
  /// false: what the resize gives must have rows x columns already.
  bool crop = true;
  double rescale = 1.0 / 255;  ///< of a byte; 1: the model takes 0 ... 255
  double offset = 0.0;         ///< subtracted after it, before mean

  /// (value * rescale - offset - mean) / std of a byte or of a number between bytes; `channel` below
  /// channels.
  double normalised(double value, std::int64_t channel) const;
  /// Throws Error for options out of range: sizes 1 to 16384, crop_pct 0.01 to 1, channels 1 to 16, mean and
  /// std not one a channel, std or rescale not above 0, numbers that are not finite.
  void check() const;

  /// JSON object text, as stored in checkpoint metadata; the fields from squash_rows on are written only
  /// where they differ from their defaults. from_json: keys that are absent keep their defaults; throws Error
  /// on unknown keys, wrong types and values out of range.
  std::string to_json() const;
  static Preprocess from_json(const std::string& text);
};

/// (channels, rows, columns): Preprocess::normalised of each byte, in float32 from float64 arithmetic. One
/// channel: the picture becomes luma before it is resized, and mean[0], std[0] count. Throws Error for
/// options that check() refuses, other channels than 1 or 3, and a picture of another size where the options
/// do not crop.
Tensor preprocess(const Image& image, const Preprocess& options);
/// The bytes that it normalises: `planes` is (channels, rows, columns).
void preprocess_bytes(const Image& image, const Preprocess& options, std::uint8_t* planes);

}  // namespace locant
