#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "io/image.h"

namespace locant {

enum class ResizeFilter { box, bilinear, hamming, bicubic, lanczos };

/// Which pass goes first: horizontal (Pillow to 12.3; what checkpoints were trained with) or Pillow 13.0's
/// rule.
enum class ResizeOrder { horizontal_first, pillow13 };

/// Pillow's Image.resize on 8-bit RGB, bit for bit: spec of coefficients and rounding in the .cc file.
/// Throws Error for sizes below 1 or of more than 2^28 pixels (the picture between the passes included).
Image pil_resize(const Image& image, std::int64_t columns, std::int64_t rows, ResizeFilter filter,
                 ResizeOrder order = ResizeOrder::horizontal_first);

/// The same for one 8-bit channel: `grey` (in_rows, in_columns) -> (rows, columns), row-major.
std::vector<std::uint8_t> pil_resize_grey(std::span<const std::uint8_t> grey, std::int64_t in_columns,
                                          std::int64_t in_rows, std::int64_t columns, std::int64_t rows,
                                          ResizeFilter filter,
                                          ResizeOrder order = ResizeOrder::horizontal_first);

/// A part of the resized picture.
struct ResizeWindow {
  std::int64_t top = 0, left = 0, rows = 0, columns = 0;
};
/// The same bytes as cutting the window out of the resized picture, which may be of any size: only the window
/// is made, from the inputs that it reads. Throws Error for a window that does not lie in the picture, is
/// empty, or has more than 2^28 pixels (in itself or between the passes).
Image pil_resize_window(const Image& image, std::int64_t columns, std::int64_t rows, ResizeFilter filter,
                        const ResizeWindow& window, ResizeOrder order = ResizeOrder::horizontal_first);
std::vector<std::uint8_t> pil_resize_grey_window(std::span<const std::uint8_t> grey, std::int64_t in_columns,
                                                 std::int64_t in_rows, std::int64_t columns,
                                                 std::int64_t rows, ResizeFilter filter,
                                                 const ResizeWindow& window,
                                                 ResizeOrder order = ResizeOrder::horizontal_first);

/// The fixed-point weights of one axis: output i is made of inputs first[i] ... first[i] + count[i] - 1 with
/// the integers weights[i * stride + j], unit 2^-22. Reads 0 <= first, first + count <= in_length.
struct ResizeWeights {
  std::vector<std::int64_t> first;
  std::vector<std::int64_t> count;
  std::vector<std::int32_t> weights;
  std::int64_t stride = 0;
};
ResizeWeights resize_weights(std::int64_t in_length, std::int64_t out_length, ResizeFilter filter);
/// Of `count` outputs from number `first` alone: what it returns begins with that one.
ResizeWeights resize_weights(std::int64_t in_length, std::int64_t out_length, ResizeFilter filter,
                             std::int64_t first, std::int64_t count);

/// "box", "bilinear", "hamming", "bicubic", "lanczos". Throws Error for another name.
ResizeFilter parse_resize_filter(std::string_view name);
std::string_view resize_filter_name(ResizeFilter filter);

}  // namespace locant
