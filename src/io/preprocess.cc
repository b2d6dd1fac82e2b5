#include "io/preprocess.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "io/pil_ops.h"

namespace locant {
namespace {

using Mode = Preprocess::Mode;

constexpr std::int64_t kMaxSize = 16384, kMaxChannels = 16;
constexpr double kByte = 1.0 / 255;

void check_size(const char* what, std::int64_t size, std::int64_t least) {
  require(size >= least && size <= kMaxSize, "preprocess", "{} {}: {} to {} is allowed", what, size, least,
          kMaxSize);
}

void check_normalisation(const Preprocess& options) {
  const auto channels = static_cast<std::size_t>(options.channels);
  for (const std::vector<float>* values : {&options.mean, &options.std}) {
    require(values->size() == channels || (channels == 1 && values->size() == 3), "preprocess",
            "mean and std have {} and {} numbers: {} channels need one each", options.mean.size(),
            options.std.size(), channels);
  }
  for (std::size_t c = 0; c < std::min(options.mean.size(), options.std.size()); ++c) {
    require(std::isfinite(options.mean[c]) && std::isfinite(options.std[c]) && options.std[c] > 0.0f,
            "preprocess", "mean {} and std {}: finite numbers, std above 0", options.mean[c], options.std[c]);
  }
  require(std::isfinite(options.rescale) && options.rescale > 0.0 && std::isfinite(options.offset),
          "preprocess", "rescale {} and offset {}: finite numbers, rescale above 0", options.rescale,
          options.offset);
}

struct Size {
  std::int64_t rows, columns;
};

/// Interleaved bytes of the window: RGB or luma alone.
std::vector<std::uint8_t> resize(const Image& image, const Size& size, const ResizeWindow& window,
                                 const Preprocess& options) {
  if (options.channels == 3)
    return pil_resize_window(image, size.columns, size.rows, options.filter, window).rgb;
  return pil_resize_grey_window(pil_luma(image), image.columns, image.rows, size.columns, size.rows,
                                options.filter, window);
}

/// As torchvision's Resize(int) and transformers' shortest_edge: the long side is int(side long / short).
Size short_side_to(const Image& image, double side) {
  const auto rows = static_cast<double>(image.rows), columns = static_cast<double>(image.columns);
  const double longer = std::floor(side * std::max(rows, columns) / std::min(rows, columns));
  const auto short_side = static_cast<std::int64_t>(side), long_side = static_cast<std::int64_t>(longer);
  return image.rows < image.columns ? Size{short_side, long_side} : Size{long_side, short_side};
}

/// As timm's ResizeKeepRatio: the smallest picture of this aspect that covers the target, or the largest that
/// it holds, each side rounded.
Size keep_ratio(const Image& image, double target_rows, double target_columns, bool covers) {
  const auto rows = static_cast<double>(image.rows), columns = static_cast<double>(image.columns);
  const auto [least, most] = std::minmax({rows / target_rows, columns / target_columns});
  const double ratio = covers ? least : most;
  return {std::max<std::int64_t>(std::llrint(rows / ratio), 1),
          std::max<std::int64_t>(std::llrint(columns / ratio), 1)};
}

Size size_before_crop(const Image& image, const Preprocess& options) {
  switch (options.mode) {
    case Mode::keep:
      return {image.rows, image.columns};
    case Mode::squash:
      if (options.squash_rows == 0) return {options.rows, options.columns};
      return {options.squash_rows, options.squash_columns};
    case Mode::short_side:
      return short_side_to(image, static_cast<double>(options.resize_to));
    case Mode::border:
    case Mode::resize_short:
      break;
  }
  const bool border = options.mode == Mode::border;
  const double smaller = static_cast<double>(std::min(options.rows, options.columns));
  const auto target = [&](std::int64_t size) {
    if (border || options.resize_to == 0) return std::floor(static_cast<double>(size) / options.crop_pct);
    return std::floor(static_cast<double>(options.resize_to * size) / smaller);
  };
  if (!border && options.rows == options.columns) return short_side_to(image, target(options.rows));
  return keep_ratio(image, target(options.rows), target(options.columns), !border);
}

/// Where the output of one axis starts in the input. Negative where the input is the smaller one and gets a
/// border.
std::int64_t crop_begin(std::int64_t in, std::int64_t out, Preprocess::CropOrigin origin) {
  const double half = static_cast<double>(in - out) / 2.0;
  if (origin == Preprocess::CropOrigin::floor) return static_cast<std::int64_t>(std::floor(half));
  if (in < out) return -((out - in) / 2);
  // Python's round: halves go to the even neighbour; so does lrint.
  return std::lrint(half);
}

/// What the border is made of.
std::uint8_t border_byte(const Preprocess& options, std::int64_t channel) {
  if (options.mode != Mode::border) return 0;
  // The mean as people write it: 255 times the float next to it may lie on the other side of a half.
  const double mean = std::stod(fmt::format("{}", options.mean[static_cast<std::size_t>(channel)]));
  return static_cast<std::uint8_t>(std::lrint(std::clamp(255.0 * mean, 0.0, 255.0)));
}

/// `out` (channels, rows, columns): of each byte what `table` (channels, 256) holds.
template <class T>
void prepare(const Image& image, const Preprocess& options, const std::vector<T>& table, T* out) {
  require(image.rows >= 1 && image.columns >= 1 &&
              image.rgb.size() == static_cast<std::size_t>(3 * image.rows * image.columns),
          "preprocess", "{} bytes are no picture of {} x {} pixels", image.rgb.size(), image.columns,
          image.rows);
  const std::int64_t rows = options.rows, columns = options.columns, channels = options.channels;
  const Size size = size_before_crop(image, options);
  require(options.crop || (size.rows == rows && size.columns == columns), "preprocess",
          "a picture of {} x {} pixels becomes {} x {}, and nothing is cut: the model takes {} x {}",
          image.columns, image.rows, size.columns, size.rows, columns, rows);
  // What the crop keeps of the resized picture is all that is made of it: of one pixel by 20,000 it is a part
  // of millions.
  const std::int64_t top = crop_begin(size.rows, rows, options.crop_origin);
  const std::int64_t left = crop_begin(size.columns, columns, options.crop_origin);
  const ResizeWindow kept = {std::max<std::int64_t>(top, 0), std::max<std::int64_t>(left, 0),
                             std::min(rows, size.rows), std::min(columns, size.columns)};
  const std::vector<std::uint8_t> resized = resize(image, size, kept, options);
  parallel_for(channels * rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int64_t c = line / rows, y = line % rows + top - kept.top;
      const T* value = table.data() + 256 * c;
      T* to = out + line * columns;
      std::fill_n(to, columns, value[border_byte(options, c)]);
      if (y < 0 || y >= kept.rows) continue;
      const std::uint8_t* row = resized.data() + y * kept.columns * channels + c;
      to += kept.left - left;  // beyond the border, where there is one
      for (std::int64_t x = 0; x < kept.columns; ++x) to[x] = value[row[x * channels]];
    }
  });
}

void check_for_pictures(const Preprocess& options) {
  options.check();
  require(options.channels == 1 || options.channels == 3, "preprocess",
          "the model takes {} channels and pictures have 1 or 3: give it tensors that you made yourself",
          options.channels);
}

}  // namespace

double Preprocess::normalised(double value, std::int64_t channel) const {
  const auto c = static_cast<std::size_t>(channel);
  // 1 / 255 is no float64: a product with it is not what a division by 255 gives.
  const double unit = rescale == kByte ? value / 255.0 : value * rescale;
  return (unit - offset - static_cast<double>(mean[c])) / static_cast<double>(std[c]);
}

void Preprocess::check() const {
  check_size("size", rows, 1);
  check_size("size", columns, 1);
  require(channels >= 1 && channels <= kMaxChannels, "preprocess", "{} channels: 1 to {} are allowed",
          channels, kMaxChannels);
  require(crop_pct >= 0.01 && crop_pct <= 1.0, "preprocess", "crop_pct {}: 0.01 to 1 is allowed", crop_pct);
  check_size("resize_to", resize_to, mode == Mode::short_side ? 1 : 0);
  check_size("squash_rows", squash_rows, squash_columns > 0 ? 1 : 0);
  check_size("squash_columns", squash_columns, squash_rows > 0 ? 1 : 0);
  check_normalisation(*this);
}

Tensor preprocess(const Image& image, const Preprocess& options) {
  check_for_pictures(options);
  std::vector<float> table(static_cast<std::size_t>(256 * options.channels));
  for (std::int64_t i = 0; i < 256 * options.channels; ++i) {
    table[static_cast<std::size_t>(i)] =
        static_cast<float>(options.normalised(static_cast<double>(i % 256), i / 256));
  }
  Tensor result({options.channels, options.rows, options.columns});
  prepare(image, options, table, result.data());
  return result;
}

void preprocess_bytes(const Image& image, const Preprocess& options, std::uint8_t* planes) {
  check_for_pictures(options);
  std::vector<std::uint8_t> table(static_cast<std::size_t>(256 * options.channels));
  std::iota(table.begin(), table.end(), std::uint8_t{0});  // wraps round: each channel's bytes as they are
  prepare(image, options, table, planes);
}

}  // namespace locant
