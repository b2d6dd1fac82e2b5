#pragma once

#include <string_view>

#include "io/image.h"

namespace locant {

enum class ResizeFilter { box, bilinear, hamming, bicubic, lanczos };

/// Which pass goes first: horizontal (Pillow to 12.3; what checkpoints were trained with) or Pillow 13.0's rule.
enum class ResizeOrder { horizontal_first, pillow13 };

/// Pillow's Image.resize on 8-bit RGB, bit for bit: spec of coefficients and rounding in the .cc file.
/// Throws Error for sizes below 1.
Image pil_resize(const Image& image, std::int64_t columns, std::int64_t rows, ResizeFilter filter,
                 ResizeOrder order = ResizeOrder::horizontal_first);

ResizeFilter parse_resize_filter(std::string_view name);
std::string_view resize_filter_name(ResizeFilter filter);

}  // namespace locant
