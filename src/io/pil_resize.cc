// Pillow's resize: two separable passes, each with weights in 1/2^22 and rounded to bytes.
//   scale = m / n, f = max(scale, 1), r = s f (m in, n out, s the filter's support)
//   output i: c = (i + 0.5) scale, inputs lo = max(trunc(c - r + 0.5), 0) ... hi = min(trunc(c + r + 0.5), m)
//   - 1 w_j = w((j - c + 0.5) (1 / f)), divided by their sum, k_j = round(2^22 w_j), halves away from zero
//   out = clamp((2^21 + sum_j k_j x_j) >> 22, 0, 255)
// A pass along an axis that keeps its length is skipped.
#include "io/pil_resize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {
namespace {

constexpr int kPrecision = 22;
constexpr std::int32_t kHalf = 1 << (kPrecision - 1);
constexpr std::int64_t kMaxPixels = 1 << 28;

constexpr std::array<std::string_view, 5> kFilterNames = {"box", "bilinear", "hamming", "bicubic", "lanczos"};

double filter_support(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::box:
      return 0.5;
    case ResizeFilter::bilinear:
    case ResizeFilter::hamming:
      return 1.0;
    case ResizeFilter::bicubic:
      return 2.0;
    default:
      return 3.0;
  }
}

double sinc(double t) {
  if (t == 0.0) return 1.0;
  t *= std::numbers::pi;
  return std::sin(t) / t;
}

double hamming(double t) {
  t = std::abs(t);
  if (t == 0.0) return 1.0;
  if (t >= 1.0) return 0.0;
  t *= std::numbers::pi;
  // Pillow's two constants are float32.
  return std::sin(t) / t * (static_cast<double>(0.54f) + static_cast<double>(0.46f) * std::cos(t));
}

/// Keys' cubic with a = -0.5.
double bicubic(double t) {
  constexpr double a = -0.5;
  t = std::abs(t);
  if (t < 1.0) return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
  if (t < 2.0) return (((t - 5.0) * t + 8.0) * t - 4.0) * a;
  return 0.0;
}

double filter_value(ResizeFilter filter, double t) {
  switch (filter) {
    case ResizeFilter::box:
      return t > -0.5 && t <= 0.5 ? 1.0 : 0.0;
    case ResizeFilter::bilinear:
      return std::abs(t) < 1.0 ? 1.0 - std::abs(t) : 0.0;
    case ResizeFilter::hamming:
      return hamming(t);
    case ResizeFilter::bicubic:
      return bicubic(t);
    default:
      return t >= -3.0 && t < 3.0 ? sinc(t) * sinc(t / 3.0) : 0.0;
  }
}

std::uint8_t to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int32_t>(sum >> kPrecision, 0, 255));
}

/// Interleaved 8-bit samples, (rows, columns, channels), whose rows begin `stride` samples apart.
struct Plane {
  const std::uint8_t* samples;
  std::int64_t rows, columns, stride;
};

/// `count` outputs of a pass from number `first`, and which inputs they read.
struct Axis {
  Axis(std::int64_t in_length, std::int64_t out_length, std::int64_t first, std::int64_t count,
       ResizeFilter filter)
      : kept(in_length == out_length), in_first(first), in_count(count) {
    if (kept) return;
    weights = resize_weights(in_length, out_length, filter, first, count);
    in_first = in_length;
    std::int64_t end = 0;
    for (std::size_t i = 0; i < weights.first.size(); ++i) {
      in_first = std::min(in_first, weights.first[i]);
      end = std::max(end, weights.first[i] + weights.count[i]);
    }
    in_count = end - in_first;
    for (std::int64_t& input : weights.first) input -= in_first;
  }
  bool kept;                        ///< the length stays: no pass, inputs are outputs
  std::int64_t in_first, in_count;  ///< the inputs read
  ResizeWeights weights;            ///< whose `first` counts from in_first
};

template <int kChannels>
void horizontal_row(const std::uint8_t* in, const ResizeWeights& axis, std::uint8_t* out) {
  for (std::size_t x = 0; x < axis.first.size(); ++x) {
    const std::int32_t* weight = axis.weights.data() + static_cast<std::int64_t>(x) * axis.stride;
    const std::uint8_t* sample = in + kChannels * axis.first[x];
    std::array<std::int32_t, kChannels> sum;
    sum.fill(kHalf);
    for (std::int64_t j = 0; j < axis.count[x]; ++j, sample += kChannels) {
      for (int c = 0; c < kChannels; ++c) sum[c] += weight[j] * sample[c];
    }
    for (int c = 0; c < kChannels; ++c) *out++ = to_byte(sum[c]);
  }
}

template <int kChannels>
std::vector<std::uint8_t> horizontal_pass(const Plane& in, const ResizeWeights& axis) {
  const auto columns = static_cast<std::int64_t>(axis.first.size());
  std::vector<std::uint8_t> out(static_cast<std::size_t>(in.rows * columns * kChannels));
  const std::int64_t grain = std::max<std::int64_t>(1, 65536 / (in.columns + columns));
  parallel_for(in.rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      horizontal_row<kChannels>(in.samples + r * in.stride, axis, out.data() + r * columns * kChannels);
  });
  return out;
}

/// One output row: whole input rows are added up, so that the loops run along memory.
void vertical_row(const Plane& in, std::int64_t width, const ResizeWeights& axis, std::int64_t y,
                  std::int32_t* __restrict sum, std::uint8_t* __restrict out) {
  std::fill_n(sum, width, kHalf);
  for (std::int64_t j = 0; j < axis.count[y]; ++j) {
    const std::int32_t weight = axis.weights[y * axis.stride + j];
    const std::uint8_t* __restrict row = in.samples + (axis.first[y] + j) * in.stride;
    for (std::int64_t x = 0; x < width; ++x) sum[x] += weight * row[x];
  }
  for (std::int64_t x = 0; x < width; ++x) out[x] = to_byte(sum[x]);
}

std::vector<std::uint8_t> vertical_pass(const Plane& in, const ResizeWeights& axis, int channels) {
  const auto rows = static_cast<std::int64_t>(axis.first.size());
  const std::int64_t width = in.columns * channels;
  std::vector<std::uint8_t> out(static_cast<std::size_t>(rows * width));
  const std::int64_t grain = std::max<std::int64_t>(1, 65536 / (width * axis.stride));
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> sum(static_cast<std::size_t>(width));
    for (std::int64_t y = begin; y < end; ++y)
      vertical_row(in, width, axis, y, sum.data(), out.data() + y * width);
  });
  return out;
}

std::vector<std::uint8_t> copied(const Plane& in, int channels) {
  std::vector<std::uint8_t> out;
  out.reserve(static_cast<std::size_t>(in.rows * in.columns * channels));
  for (std::int64_t r = 0; r < in.rows; ++r)
    out.insert(out.end(), in.samples + r * in.stride, in.samples + r * in.stride + in.columns * channels);
  return out;
}

/// The window of the resized picture. Only what it reads is looked at.
template <int kChannels>
std::vector<std::uint8_t> resize(const Plane& in, std::size_t bytes, std::int64_t columns, std::int64_t rows,
                                 ResizeFilter filter, ResizeOrder order, const ResizeWindow& window) {
  require(
      in.rows >= 1 && in.columns >= 1 && bytes == static_cast<std::size_t>(in.rows * in.columns * kChannels),
      "pil_resize", "{} bytes are no picture of {} x {} pixels", bytes, in.columns, in.rows);
  require(columns >= 1 && rows >= 1, "pil_resize", "cannot resize {} x {} to {} x {}: sizes start at 1",
          in.columns, in.rows, columns, rows);
  require(window.top >= 0 && window.left >= 0 && window.rows >= 1 && window.columns >= 1 &&
              window.rows <= rows - window.top && window.columns <= columns - window.left,
          "pil_resize", "a window of {} x {} at {},{} does not lie in {} x {}", window.columns, window.rows,
          window.left, window.top, columns, rows);
  const bool vertical_first =
      order == ResizeOrder::pillow13 && rows < in.rows && in.rows - rows > 2 * (in.columns - columns);
  // Before the weights are made: they take as much.
  require(window.rows <= kMaxPixels / window.columns, "pil_resize",
          "cannot resize {} x {} to {} x {}: more than {} pixels", in.columns, in.rows, columns, rows,
          kMaxPixels);
  const Axis across(in.columns, columns, window.left, window.columns, filter);
  const Axis down(in.rows, rows, window.top, window.rows, filter);
  const std::int64_t between_rows = vertical_first ? window.rows : down.in_count;
  const std::int64_t between_columns = vertical_first ? across.in_count : window.columns;
  require(between_rows <= kMaxPixels / std::max<std::int64_t>(between_columns, 1), "pil_resize",
          "cannot resize {} x {} to {} x {}: more than {} pixels on the way", in.columns, in.rows, columns,
          rows, kMaxPixels);
  const Plane part = {in.samples + down.in_first * in.stride + across.in_first * kChannels, down.in_count,
                      across.in_count, in.stride};
  if (down.kept && across.kept) return copied(part, kChannels);
  if (down.kept) return horizontal_pass<kChannels>(part, across.weights);
  if (across.kept) return vertical_pass(part, down.weights, kChannels);
  if (vertical_first) {
    const std::vector<std::uint8_t> between = vertical_pass(part, down.weights, kChannels);
    return horizontal_pass<kChannels>({between.data(), window.rows, part.columns, part.columns * kChannels},
                                      across.weights);
  }
  const std::vector<std::uint8_t> between = horizontal_pass<kChannels>(part, across.weights);
  return vertical_pass({between.data(), part.rows, window.columns, window.columns * kChannels}, down.weights,
                       kChannels);
}

}  // namespace

ResizeWeights resize_weights(std::int64_t in_length, std::int64_t out_length, ResizeFilter filter) {
  return resize_weights(in_length, out_length, filter, 0, out_length);
}

ResizeWeights resize_weights(std::int64_t in_length, std::int64_t out_length, ResizeFilter filter,
                             std::int64_t first, std::int64_t count) {
  require(in_length >= 1 && out_length >= 1, "pil_resize", "an axis of {} samples cannot become {}",
          in_length, out_length);
  require(first >= 0 && count >= 0 && count <= out_length - first, "pil_resize",
          "outputs {} to {} of an axis of {}", first, first + count, out_length);
  // Pillow keeps the source interval in float32.
  const double scale = static_cast<double>(static_cast<float>(in_length)) / static_cast<double>(out_length);
  const double stretch = std::max(scale, 1.0);
  const double radius = filter_support(filter) * stretch;
  ResizeWeights axis;
  axis.stride = std::min(in_length, static_cast<std::int64_t>(std::ceil(radius)) * 2 + 1);
  axis.first.resize(static_cast<std::size_t>(count));
  axis.count.resize(static_cast<std::size_t>(count));
  axis.weights.assign(static_cast<std::size_t>(count * axis.stride), 0);
  std::vector<double> w(static_cast<std::size_t>(axis.stride));
  for (std::int64_t i = 0; i < count; ++i) {
    const double centre = (static_cast<double>(first + i) + 0.5) * scale;
    const std::int64_t high = std::min(static_cast<std::int64_t>(centre + radius + 0.5), in_length);
    const std::int64_t low =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(centre - radius + 0.5), 0, high);
    double sum = 0.0;
    for (std::int64_t j = low; j < high; ++j) {
      w[j - low] = filter_value(filter, (static_cast<double>(j) - centre + 0.5) * (1.0 / stretch));
      sum += w[j - low];
    }
    axis.first[i] = low;
    axis.count[i] = high - low;
    for (std::int64_t j = 0; j < high - low; ++j) {
      const double unit = (sum != 0.0 ? w[j] / sum : w[j]) * (1 << kPrecision);
      axis.weights[i * axis.stride + j] = static_cast<std::int32_t>(unit < 0.0 ? unit - 0.5 : unit + 0.5);
    }
  }
  return axis;
}

Image pil_resize(const Image& image, std::int64_t columns, std::int64_t rows, ResizeFilter filter,
                 ResizeOrder order) {
  return pil_resize_window(image, columns, rows, filter, {0, 0, rows, columns}, order);
}

Image pil_resize_window(const Image& image, std::int64_t columns, std::int64_t rows, ResizeFilter filter,
                        const ResizeWindow& window, ResizeOrder order) {
  return {window.rows, window.columns,
          resize<3>({image.rgb.data(), image.rows, image.columns, 3 * image.columns}, image.rgb.size(),
                    columns, rows, filter, order, window)};
}

std::vector<std::uint8_t> pil_resize_grey(std::span<const std::uint8_t> grey, std::int64_t in_columns,
                                          std::int64_t in_rows, std::int64_t columns, std::int64_t rows,
                                          ResizeFilter filter, ResizeOrder order) {
  return pil_resize_grey_window(grey, in_columns, in_rows, columns, rows, filter, {0, 0, rows, columns},
                                order);
}

std::vector<std::uint8_t> pil_resize_grey_window(std::span<const std::uint8_t> grey, std::int64_t in_columns,
                                                 std::int64_t in_rows, std::int64_t columns,
                                                 std::int64_t rows, ResizeFilter filter,
                                                 const ResizeWindow& window, ResizeOrder order) {
  return resize<1>({grey.data(), in_rows, in_columns, in_columns}, grey.size(), columns, rows, filter, order,
                   window);
}

ResizeFilter parse_resize_filter(std::string_view name) {
  const auto found = std::find(kFilterNames.begin(), kFilterNames.end(), name);
  require(found != kFilterNames.end(), "pil_resize",
          "unknown filter '{}': it is one of box, bilinear, hamming, bicubic, lanczos", name);
  return static_cast<ResizeFilter>(found - kFilterNames.begin());
}

std::string_view resize_filter_name(ResizeFilter filter) {
  return kFilterNames[static_cast<std::size_t>(filter)];
}

}  // namespace locant
