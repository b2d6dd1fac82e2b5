#include "io/preprocess.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {
namespace {

using nlohmann::json;

constexpr std::int64_t kMaxSize = 16384;

void check(const Preprocess& options) {
  const auto sizes = {options.rows, options.columns};
  for (const std::int64_t size : sizes) {
    require(size >= 1 && size <= kMaxSize, "preprocess", "size {}: 1 to {} is allowed", size, kMaxSize);
  }
  require(options.channels == 1 || options.channels == 3, "preprocess", "{} channels: 1 or 3 is allowed",
          options.channels);
  require(options.crop_pct >= 0.01 && options.crop_pct <= 1.0, "preprocess",
          "crop_pct {}: 0.01 to 1 is allowed", options.crop_pct);
  require(options.resize_to >= 0 && options.resize_to <= kMaxSize, "preprocess",
          "resize_to {}: 0 to {} is allowed", options.resize_to, kMaxSize);
  for (int c = 0; c < 3; ++c) {
    require(std::isfinite(options.mean[c]) && std::isfinite(options.std[c]) && options.std[c] > 0.0f,
            "preprocess", "mean {} and std {}: finite numbers, std above 0", options.mean[c], options.std[c]);
  }
}

/// ITU-R 601 luma in 16-bit fixed point, as PIL's convert("L").
std::vector<std::uint8_t> luma(const Image& image) {
  std::vector<std::uint8_t> grey(image.rgb.size() / 3);
  for (std::size_t i = 0; i < grey.size(); ++i) {
    const std::uint8_t* p = image.rgb.data() + 3 * i;
    grey[i] = static_cast<std::uint8_t>((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
  }
  return grey;
}

struct Size {
  std::int64_t rows, columns;
};

/// Interleaved bytes of the window: RGB or luma alone.
std::vector<std::uint8_t> resize(const Image& image, const Size& size, const ResizeWindow& window,
                                 const Preprocess& options) {
  if (options.channels == 3)
    return pil_resize_window(image, size.columns, size.rows, options.filter, window).rgb;
  return pil_resize_grey_window(luma(image), image.columns, image.rows, size.columns, size.rows,
                                options.filter, window);
}

/// Size before the crop. Square targets, as torchvision's and timm's Resize(int): the short side becomes
/// `side`, the long one int(side long / short). Other targets, as timm's keep-ratio: the smallest picture of
/// this aspect that covers both scaled sides, each rounded.
Size size_before_crop(const Image& image, const Preprocess& options) {
  const double smaller = static_cast<double>(std::min(options.rows, options.columns));
  const auto target = [&](std::int64_t size) {
    if (options.resize_to == 0) return std::floor(static_cast<double>(size) / options.crop_pct);
    return std::floor(static_cast<double>(options.resize_to * size) / smaller);
  };
  const double target_rows = target(options.rows), target_columns = target(options.columns);
  const auto rows = static_cast<double>(image.rows), columns = static_cast<double>(image.columns);
  if (options.rows == options.columns) {
    const double longer = std::floor(target_rows * std::max(rows, columns) / std::min(rows, columns));
    const auto short_side = static_cast<std::int64_t>(target_rows);
    const auto long_side = static_cast<std::int64_t>(longer);
    return image.rows < image.columns ? Size{short_side, long_side} : Size{long_side, short_side};
  }
  const double ratio = std::min(rows / target_rows, columns / target_columns);
  return {std::max<std::int64_t>(std::llrint(rows / ratio), 1),
          std::max<std::int64_t>(std::llrint(columns / ratio), 1)};
}

/// torchvision's centre crop of one axis: where the output starts in the input. Negative where the input is
/// the smaller one and gets a border of zeros.
std::int64_t crop_origin(std::int64_t in, std::int64_t out) {
  if (in < out) return -((out - in) / 2);
  // Python's round: halves go to the even neighbour; so does lrint.
  return std::lrint(static_cast<double>(in - out) / 2.0);
}

/// (value / 255 - mean) / std of all bytes: (channels, 256).
std::vector<float> normalise_table(const Preprocess& options) {
  std::vector<float> table(static_cast<std::size_t>(256 * options.channels));
  for (std::int64_t c = 0; c < options.channels; ++c) {
    for (int v = 0; v < 256; ++v) {
      table[256 * c + v] = static_cast<float>((v / 255.0 - static_cast<double>(options.mean[c])) /
                                              static_cast<double>(options.std[c]));
    }
  }
  return table;
}

/// A float as its shortest decimal: 0.485 and not 0.48500001430511475.
double shortest(float value) { return std::stod(fmt::format("{}", value)); }

std::int64_t integer(const json& value, const std::string& key) {
  require(value.is_number_integer(), "preprocess", "'{}' must be an integer, not of type {}", key,
          value.type_name());
  // Unsigned values beyond int64 come out negative and fail check().
  return value.get<std::int64_t>();
}

std::array<float, 3> three(const json& value, const std::string& key) {
  std::array<float, 3> result;
  require(value.is_array() && value.size() == 3 &&
              std::all_of(value.begin(), value.end(), [](const json& x) { return x.is_number(); }),
          "preprocess", "'{}' must be three numbers, not of type {}", key, value.type_name());
  for (int c = 0; c < 3; ++c) result[c] = static_cast<float>(value[c].get<double>());
  return result;
}

std::string text_of(const json& value, const std::string& key) {
  require(value.is_string(), "preprocess", "'{}' must be a string, not of type {}", key, value.type_name());
  return value.get<std::string>();
}

Preprocess::Mode parse_mode(const std::string& name) {
  if (name == "squash") return Preprocess::Mode::squash;
  require(name == "resize_short", "preprocess", "unknown mode '{}': resize_short or squash", name);
  return Preprocess::Mode::resize_short;
}

void set_field(Preprocess& options, const std::string& key, const json& value) {
  if (key == "rows") {
    options.rows = integer(value, key);
  } else if (key == "columns") {
    options.columns = integer(value, key);
  } else if (key == "channels") {
    options.channels = integer(value, key);
  } else if (key == "mode") {
    options.mode = parse_mode(text_of(value, key));
  } else if (key == "crop_pct") {
    require(value.is_number(), "preprocess", "'crop_pct' must be a number, not of type {}",
            value.type_name());
    options.crop_pct = value.get<double>();
  } else if (key == "resize_to") {
    options.resize_to = integer(value, key);
  } else if (key == "filter") {
    options.filter = parse_resize_filter(text_of(value, key));
  } else if (key == "mean") {
    options.mean = three(value, key);
  } else if (key == "std") {
    options.std = three(value, key);
  } else {
    fail("preprocess",
         "unknown key '{}': rows, columns, channels, mode, crop_pct, resize_to, filter, mean, std are known",
         key);
  }
}

}  // namespace

std::string Preprocess::to_json() const {
  const auto decimals = [](const std::array<float, 3>& a) {
    return json{shortest(a[0]), shortest(a[1]), shortest(a[2])};
  };
  const json object = {{"rows", rows},
                       {"columns", columns},
                       {"channels", channels},
                       {"mode", mode == Mode::squash ? "squash" : "resize_short"},
                       {"crop_pct", crop_pct},
                       {"resize_to", resize_to},
                       {"filter", std::string(resize_filter_name(filter))},
                       {"mean", decimals(mean)},
                       {"std", decimals(std)}};
  return object.dump();
}

Preprocess Preprocess::from_json(const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  require(object.is_object(), "preprocess", "not a JSON object: '{}'", text.substr(0, 200));
  Preprocess options;
  for (const auto& item : object.items()) set_field(options, item.key(), item.value());
  check(options);
  return options;
}

Tensor preprocess(const Image& image, const Preprocess& options) {
  check(options);
  require(image.rows >= 1 && image.columns >= 1 &&
              image.rgb.size() == static_cast<std::size_t>(3 * image.rows * image.columns),
          "preprocess", "{} bytes are no picture of {} x {} pixels", image.rgb.size(), image.columns,
          image.rows);
  const bool squash = options.mode == Preprocess::Mode::squash;
  const Size size = squash ? Size{options.rows, options.columns} : size_before_crop(image, options);
  const std::int64_t rows = options.rows, columns = options.columns, channels = options.channels;
  // What the crop keeps of the resized picture is all that is made of it: of one pixel by 20,000 it is a part
  // of millions.
  const std::int64_t top = crop_origin(size.rows, rows), left = crop_origin(size.columns, columns);
  const ResizeWindow kept = {std::max<std::int64_t>(top, 0), std::max<std::int64_t>(left, 0),
                             std::min(rows, size.rows), std::min(columns, size.columns)};
  const std::vector<std::uint8_t> resized = resize(image, size, kept, options);
  const std::vector<float> table = normalise_table(options);
  Tensor result({channels, rows, columns});
  parallel_for(channels * rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t line = begin; line < end; ++line) {
      const std::int64_t c = line / rows, y = line % rows + top - kept.top;
      const float* value = table.data() + 256 * c;
      float* out = result.data() + line * columns;
      std::fill_n(out, columns, value[0]);
      if (y < 0 || y >= kept.rows) continue;
      const std::uint8_t* row = resized.data() + y * kept.columns * channels + c;
      out += kept.left - left;  // beyond the border of zeros, where there is one
      for (std::int64_t x = 0; x < kept.columns; ++x) out[x] = value[row[x * channels]];
    }
  });
  return result;
}

}  // namespace locant
