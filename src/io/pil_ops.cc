#include "io/pil_ops.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <string>
#include <utility>

#include "core/error.h"

namespace locant {
namespace {

using Table = std::array<std::uint8_t, 256>;
using Histogram = std::array<std::int64_t, 256>;

void check_picture(const Image& image) {
  require(image.rows >= 1 && image.columns >= 1 &&
              image.rgb.size() == static_cast<std::size_t>(3 * image.rows * image.columns),
          "pil_ops", "{} bytes are no picture of {} x {} pixels", image.rgb.size(), image.columns,
          image.rows);
}

std::uint8_t cut_off(std::int64_t value) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
}

/// `value(v)` of each byte.
template <class Value>
Table table_of(const Value& value) {
  Table table{};
  for (int v = 0; v < 256; ++v) table[static_cast<std::size_t>(v)] = cut_off(value(v));
  return table;
}

Image looked_up(Image image, const std::array<Table, 3>& tables) {
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = tables[i % 3][image.rgb[i]];
  return image;
}

Image looked_up(Image image, const Table& table) {
  check_picture(image);
  for (std::uint8_t& v : image.rgb) v = table[v];
  return image;
}

std::array<Histogram, 3> histograms(const Image& image) {
  check_picture(image);
  std::array<Histogram, 3> counts{};
  for (std::size_t i = 0; i < image.rgb.size(); ++i) ++counts[i % 3][image.rgb[i]];
  return counts;
}

Table autocontrast_table(const Histogram& counts) {
  const auto is_there = [](std::int64_t count) { return count > 0; };
  const auto lowest = std::find_if(counts.begin(), counts.end(), is_there) - counts.begin();
  const auto highest = 255 - (std::find_if(counts.rbegin(), counts.rend(), is_there) - counts.rbegin());
  if (highest <= lowest) return table_of([](int v) { return v; });
  const double scale = 255.0 / static_cast<double>(highest - lowest);
  const double offset = -static_cast<double>(lowest) * scale;
  return table_of([&](int v) { return static_cast<std::int64_t>(v * scale + offset); });
}

Table equalize_table(const Histogram& counts) {
  std::int64_t sum = 0, highest = 0;
  for (const std::int64_t count : counts) {
    sum += count;
    if (count > 0) highest = count;
  }
  const std::int64_t step = (sum - highest) / 255;
  if (step == 0) return table_of([](int v) { return v; });
  std::int64_t below = step / 2;
  return table_of(
      [&](int v) { return std::exchange(below, below + counts[static_cast<std::size_t>(v)]) / step; });
}

/// d + factor (v - d), where d is `degenerate(i)` of sample i.
template <class Degenerate>
Image enhanced(Image image, double factor, const Degenerate& degenerate) {
  const auto alpha = static_cast<float>(factor);
  if (alpha == 1.0f) return image;
  for (std::size_t i = 0; i < image.rgb.size(); ++i) {
    const int from = degenerate(i);
    const float value = static_cast<float>(from) + alpha * static_cast<float>(image.rgb[i] - from);
    image.rgb[i] = static_cast<std::uint8_t>(std::clamp(value, 0.0f, 255.0f));
  }
  return image;
}

std::vector<std::uint8_t> smoothed(const Image& image) {
  std::vector<std::uint8_t> out = image.rgb;
  const std::int64_t stride = 3 * image.columns;
  const float edge = 1.0f / 13.0f, middle = 5.0f / 13.0f;
  // Three of a row, then the rows from below, in float32: the order is part of the result.
  const auto three = [edge](const std::uint8_t* at, float weight) {
    return static_cast<float>(at[-3]) * edge + static_cast<float>(at[0]) * weight +
           static_cast<float>(at[3]) * edge;
  };
  for (std::int64_t y = 1; y + 1 < image.rows; ++y)
    for (std::int64_t i = y * stride + 3; i < (y + 1) * stride - 3; ++i) {
      const std::uint8_t* at = image.rgb.data() + i;
      float sum = 0.5f;
      sum += three(at + stride, edge);
      sum += three(at, middle);
      sum += three(at - stride, edge);
      out[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(std::clamp(sum, 0.0f, 255.0f));
    }
  return out;
}

/// The cubic through `at[1]` and `at[2]` whose slopes there are those of the neighbours' chords (twice
/// Catmull-Rom's), at 0 <= t < 1 from `at[1]`.
double cubic(const std::array<double, 4>& at, double t) {
  const double slope = -at[0] + at[2];
  const double square = 2 * (at[0] - at[1]) + at[2] - at[3];
  const double cube = -at[0] + at[1] - at[2] + at[3];
  return at[1] + t * (slope + t * (square + t * cube));
}

double linear(const std::array<double, 2>& at, double t) { return at[0] + (at[1] - at[0]) * t; }

/// kTaps samples each way, from `first` taps before the pixel whose centre is at or before the point.
template <std::size_t kTaps, class Between>
void sample(const Image& image, double x, double y, const Between& between, std::uint8_t* out) {
  x -= 0.5;
  y -= 0.5;
  const double x_floor = std::floor(x), y_floor = std::floor(y);
  constexpr std::int64_t kBefore = static_cast<std::int64_t>(kTaps) / 2 - 1;
  std::array<const std::uint8_t*, kTaps> rows;
  std::array<std::int64_t, kTaps> columns;
  for (std::size_t i = 0; i < kTaps; ++i) {
    const std::int64_t tap = static_cast<std::int64_t>(i) - kBefore;
    columns[i] = 3 * std::clamp<std::int64_t>(static_cast<std::int64_t>(x_floor) + tap, 0, image.columns - 1);
    rows[i] = image.rgb.data() +
              3 * image.columns *
                  std::clamp<std::int64_t>(static_cast<std::int64_t>(y_floor) + tap, 0, image.rows - 1);
  }
  for (int c = 0; c < 3; ++c) {
    std::array<double, kTaps> down, across;
    for (std::size_t r = 0; r < kTaps; ++r) {
      for (std::size_t i = 0; i < kTaps; ++i) across[i] = rows[r][columns[i] + c];
      down[r] = between(across, x - x_floor);
    }
    out[c] = static_cast<std::uint8_t>(std::clamp(between(down, y - y_floor), 0.0, 255.0));
  }
}

/// As Python's round(x, 15).
double to_15_decimals(double x) {
  const std::string text = fmt::format("{:.15f}", x);
  std::from_chars(text.data(), text.data() + text.size(), x);
  return x;
}

}  // namespace

std::vector<std::uint8_t> pil_luma(const Image& image) {
  check_picture(image);
  std::vector<std::uint8_t> grey(image.rgb.size() / 3);
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const std::uint8_t* p = image.rgb.data() + 3 * i;
    grey[i] = static_cast<std::uint8_t>((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
  }
  return grey;
}

Image pil_grey(Image image) {
  const std::vector<std::uint8_t> grey = pil_luma(image);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = grey[i / 3];
  return image;
}

Image pil_autocontrast(Image image) {
  const auto counts = histograms(image);
  return looked_up(std::move(image), {autocontrast_table(counts[0]), autocontrast_table(counts[1]),
                                      autocontrast_table(counts[2])});
}

Image pil_equalize(Image image) {
  const auto counts = histograms(image);
  return looked_up(std::move(image),
                   {equalize_table(counts[0]), equalize_table(counts[1]), equalize_table(counts[2])});
}

Image pil_invert(Image image) {
  return looked_up(std::move(image), table_of([](int v) { return 255 - v; }));
}

Image pil_posterize(Image image, int bits) {
  require(bits >= 0 && bits <= 8, "pil_ops", "posterize keeps 0 to 8 bits, not {}", bits);
  return looked_up(std::move(image), table_of([bits](int v) { return v & ~((1 << (8 - bits)) - 1); }));
}

Image pil_solarize(Image image, int threshold) {
  return looked_up(std::move(image), table_of([threshold](int v) { return v < threshold ? v : 255 - v; }));
}

Image pil_solarize_add(Image image, int add, int threshold) {
  return looked_up(std::move(image),
                   table_of([add, threshold](int v) { return v < threshold ? std::min(v + add, 255) : v; }));
}

Image pil_color(Image image, double factor) {
  const std::vector<std::uint8_t> grey = pil_luma(image);
  return enhanced(std::move(image), factor, [&](std::size_t i) { return grey[i / 3]; });
}

Image pil_contrast(Image image, double factor) {
  const std::vector<std::uint8_t> grey = pil_luma(image);
  std::int64_t sum = 0;
  for (const std::uint8_t v : grey) sum += v;
  const int mean = static_cast<int>(static_cast<double>(sum) / static_cast<double>(grey.size()) + 0.5);
  return enhanced(std::move(image), factor, [mean](std::size_t) { return mean; });
}

Image pil_brightness(Image image, double factor) {
  check_picture(image);
  return enhanced(std::move(image), factor, [](std::size_t) { return 0; });
}

Image pil_sharpness(Image image, double factor) {
  check_picture(image);
  const std::vector<std::uint8_t> smooth = smoothed(image);
  return enhanced(std::move(image), factor, [&](std::size_t i) { return smooth[i]; });
}

Image pil_affine(const Image& image, const std::array<double, 6>& m, ResizeFilter filter,
                 const Colour& fill) {
  check_picture(image);
  require(filter == ResizeFilter::bilinear || filter == ResizeFilter::bicubic, "pil_ops",
          "a turn or shear interpolates bilinear or bicubic, not {}", resize_filter_name(filter));
  Image out{image.rows, image.columns, std::vector<std::uint8_t>(image.rgb.size())};
  std::uint8_t* to = out.rgb.data();
  for (std::int64_t row = 0; row < image.rows; ++row)
    for (std::int64_t column = 0; column < image.columns; ++column, to += 3) {
      const double x = static_cast<double>(column) + 0.5, y = static_cast<double>(row) + 0.5;
      const double from_x = m[0] * x + m[1] * y + m[2], from_y = m[3] * x + m[4] * y + m[5];
      if (!(from_x >= 0.0 && from_x < static_cast<double>(image.columns) && from_y >= 0.0 &&
            from_y < static_cast<double>(image.rows)))
        std::copy(fill.begin(), fill.end(), to);
      else if (filter == ResizeFilter::bilinear)
        sample<2>(image, from_x, from_y, linear, to);
      else
        sample<4>(image, from_x, from_y, cubic, to);
    }
  return out;
}

Image pil_rotate(const Image& image, double degrees, ResizeFilter filter, const Colour& fill) {
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0.0) turn += 360.0;
  const double angle = -(turn * (std::numbers::pi / 180.0));
  const double cosine = to_15_decimals(std::cos(angle)), sine = to_15_decimals(std::sin(angle)),
               minus_sine = to_15_decimals(-std::sin(angle));
  const double x = static_cast<double>(image.columns) / 2.0, y = static_cast<double>(image.rows) / 2.0;
  return pil_affine(image,
                    {cosine, sine, cosine * -x + sine * -y + 0.0 + x, minus_sine, cosine,
                     minus_sine * -x + cosine * -y + 0.0 + y},
                    filter, fill);
}

Image pil_mirror(Image image) {
  check_picture(image);
  for (std::int64_t y = 0; y < image.rows; ++y) {
    std::uint8_t* left = image.rgb.data() + 3 * y * image.columns;
    for (std::uint8_t* right = left + 3 * (image.columns - 1); left < right; left += 3, right -= 3)
      std::swap_ranges(left, left + 3, right);
  }
  return image;
}

Image pil_flip(Image image) {
  check_picture(image);
  const std::int64_t stride = 3 * image.columns;
  std::uint8_t* top = image.rgb.data();
  for (std::uint8_t* bottom = top + (image.rows - 1) * stride; top < bottom; top += stride, bottom -= stride)
    std::swap_ranges(top, top + stride, bottom);
  return image;
}

Image pil_crop(const Image& image, const ResizeWindow& box) {
  check_picture(image);
  require(box.top >= 0 && box.left >= 0 && box.rows >= 1 && box.columns >= 1 &&
              box.rows <= image.rows - box.top && box.columns <= image.columns - box.left,
          "pil_ops", "a box of {} x {} at {},{} does not lie in {} x {}", box.columns, box.rows, box.left,
          box.top, image.columns, image.rows);
  Image out{box.rows, box.columns, {}};
  out.rgb.reserve(static_cast<std::size_t>(3 * box.rows * box.columns));
  for (std::int64_t y = 0; y < box.rows; ++y) {
    const auto begin = image.rgb.begin() + 3 * ((box.top + y) * image.columns + box.left);
    out.rgb.insert(out.rgb.end(), begin, begin + 3 * box.columns);
  }
  return out;
}

}  // namespace locant
