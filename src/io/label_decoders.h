#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "io/image_decoders.h"
#include "io/labels.h"

namespace locant::image_io {

/// Labels as stored, and the orientation that stands beside them. Each throws Error("image", "NAME: reason").
struct DecodedLabels {
  Labels labels;
  int orientation = 1;
};
DecodedLabels decode_png_labels(Bytes bytes, const std::string& name, const DecodeOptions& options);
DecodedLabels decode_webp_labels(Bytes bytes, const std::string& name, const DecodeOptions& options);
DecodedLabels decode_ppm_labels(Bytes bytes, const std::string& name, const DecodeOptions& options);
DecodedLabels decode_tiff_labels(Bytes bytes, const std::string& name, const DecodeOptions& options);

/// Labels of colours (pixels, step), red, green and blue first: 24-bit numbers, or for 16-bit samples their
/// rank among the colours that occur, from 1; black is 0.
std::vector<std::uint32_t> colour_labels(std::span<const std::uint16_t> samples, std::size_t step, bool wide);

/// Settles which palette index is background (io/labels.h). `palette`: (colours, 3) bytes; `values` below
/// 65536.
void settle_palette(std::span<const std::uint8_t> palette, std::vector<std::uint32_t>& values);

}  // namespace locant::image_io
