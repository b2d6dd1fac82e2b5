#include "train/rand_augment.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "core/error.h"
#include "train/random_streams.h"

namespace locant {
namespace {

struct RandOpEntry {
  std::string_view name;
  double weight;  // of timm's table "weights"
};
constexpr std::array<RandOpEntry, kRandOps> kOps = {{{"AutoContrast", 0.25},
                                                     {"Equalize", 0.05},
                                                     {"Invert", 0.05},
                                                     {"Rotate", 3.0},
                                                     {"Posterize", 0.05},
                                                     {"Solarize", 0.05},
                                                     {"SolarizeAdd", 0.05},
                                                     {"Color", 0.25},
                                                     {"Contrast", 0.05},
                                                     {"Brightness", 0.05},
                                                     {"Sharpness", 0.25},
                                                     {"ShearX", 2.0},
                                                     {"ShearY", 2.0},
                                                     {"TranslateXRel", 1.0},
                                                     {"TranslateYRel", 1.0}}};

constexpr double kLevels = 10.0;

/// The number behind a section's key, in [least, most].
template <class T>
T number_of(std::string_view text, std::string_view section, std::string_view digits, T least, T most) {
  T value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size() || !(value >= least && value <= most))
    fail("augment", "\"{}\" in --aa {}: \"{}\" is not {} from {} to {}", section, text, digits,
         std::is_integral_v<T> ? "a whole number" : "a number", least, most);
  return value;
}

}  // namespace

RandAugment parse_rand_augment(std::string_view text) {
  RandAugment out;
  std::string_view rest = text;
  const auto next = [&rest] {
    const std::string_view section = rest.substr(0, rest.find('-'));
    rest.remove_prefix(std::min(rest.size(), section.size() + 1));
    return section;
  };
  require(next() == "rand" && !text.ends_with('-'), "augment",
          "--aa {}: only RandAugment is built, as rand-m9-mstd0.5-inc1", text);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  while (!rest.empty()) {
    const std::string_view section = next();
    const std::size_t split = std::min(section.find_first_of("0123456789"), section.size());
    const std::string_view key = section.substr(0, split), digits = section.substr(split);
    if (section == "tweights") {
      out.weighted = true;
    } else if (section.starts_with('t')) {
      fail("augment", "\"{}\" in --aa {}: of timm's sets of operations the usual one and tweights are built",
           section, text);
    } else if (key == "m") {
      out.magnitude = number_of<std::int64_t>(text, section, digits, 0, 100);
    } else if (key == "n") {
      out.layers = number_of<std::int64_t>(text, section, digits, 0, 100);
    } else if (key == "p") {
      out.probability = number_of<double>(text, section, digits, 0.0, 1.0);
    } else if (key == "mstd") {
      out.magnitude_std = number_of<double>(text, section, digits, 0.0, 1e9);
      if (out.magnitude_std > 100.0) out.magnitude_std = kInfinity;
    } else if (key == "mmax") {
      out.magnitude_max = number_of<std::int64_t>(text, section, digits, 1, 100);
    } else if (key == "inc") {
      out.increasing = number_of<int>(text, section, digits, 0, 1) == 1;
    } else {
      fail("augment", "\"{}\" in --aa {}: sections are mM, nN, pP, mstdS, mmaxM, inc0, inc1 and tweights",
           section, text);
    }
  }
  out.increasing = out.increasing || out.weighted;
  require(!out.weighted || out.layers <= kRandOps, "augment",
          "--aa {}: {} operations of {} cannot all be different, as with tweights they are", text, out.layers,
          kRandOps);
  return out;
}

std::string_view rand_op_name(RandOp op) { return kOps[static_cast<std::size_t>(op)].name; }

double rand_op_argument(RandOp op, double level, bool increasing, bool negate) {
  const double part = level / kLevels, sign = negate ? -1.0 : 1.0;
  switch (op) {
    case RandOp::rotate:
      return sign * (part * 30.0);
    case RandOp::shear_x:
    case RandOp::shear_y:
      return sign * (part * 0.3);
    case RandOp::translate_x:
    case RandOp::translate_y:
      return sign * (part * 0.45);
    case RandOp::color:
    case RandOp::contrast:
    case RandOp::brightness:
    case RandOp::sharpness:
      return increasing ? std::max(0.1, 1.0 + sign * (part * 0.9)) : part * 1.8 + 0.1;
    case RandOp::posterize: {
      const double bits = std::trunc(part * 4.0);
      return increasing ? 4.0 - bits : bits;
    }
    case RandOp::solarize: {
      const double threshold = std::min(std::trunc(part * 256.0), 256.0);
      return increasing ? 256.0 - threshold : threshold;
    }
    case RandOp::solarize_add:
      return std::min(std::trunc(part * 110.0), 128.0);
    case RandOp::auto_contrast:
    case RandOp::equalize:
    case RandOp::invert:
      break;
  }
  return 0.0;
}

Image apply_rand_op(Image image, RandOp op, double argument, ResizeFilter filter, const Colour& fill) {
  const auto whole = static_cast<int>(argument);
  switch (op) {
    case RandOp::auto_contrast:
      return pil_autocontrast(std::move(image));
    case RandOp::equalize:
      return pil_equalize(std::move(image));
    case RandOp::invert:
      return pil_invert(std::move(image));
    case RandOp::rotate:
      return pil_rotate(image, argument, filter, fill);
    case RandOp::posterize:
      return pil_posterize(std::move(image), std::clamp(whole, 0, 8));
    case RandOp::solarize:
      return pil_solarize(std::move(image), whole);
    case RandOp::solarize_add:
      return pil_solarize_add(std::move(image), whole);
    case RandOp::color:
      return pil_color(std::move(image), argument);
    case RandOp::contrast:
      return pil_contrast(std::move(image), argument);
    case RandOp::brightness:
      return pil_brightness(std::move(image), argument);
    case RandOp::sharpness:
      return pil_sharpness(std::move(image), argument);
    case RandOp::shear_x:
      return pil_affine(image, {1, argument, 0, 0, 1, 0}, filter, fill);
    case RandOp::shear_y:
      return pil_affine(image, {1, 0, 0, argument, 1, 0}, filter, fill);
    case RandOp::translate_x:
      return pil_affine(image, {1, 0, argument * static_cast<double>(image.columns), 0, 1, 0}, filter, fill);
    case RandOp::translate_y:
      return pil_affine(image, {1, 0, 0, 0, 1, argument * static_cast<double>(image.rows)}, filter, fill);
  }
  return image;
}

std::vector<RandOp> draw_rand_ops(const RandAugment& options, Rng& rng) {
  require(!options.weighted || options.layers <= kRandOps, "augment",
          "{} operations of {} cannot all be different", options.layers, kRandOps);
  std::vector<RandOp> out;
  std::array<double, kRandOps> weights;
  for (std::size_t i = 0; i < kRandOps; ++i) weights[i] = kOps[i].weight;
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    if (!options.weighted) {
      out.push_back(static_cast<RandOp>(rng.below(kRandOps)));
      continue;
    }
    double sum = 0.0;
    for (const double weight : weights) sum += weight;
    double left = uniform_in(rng, 0.0, sum);
    std::size_t pick = 0, last = 0;
    for (; pick < kRandOps; ++pick) {
      if (weights[pick] == 0.0) continue;
      last = pick;
      left -= weights[pick];
      if (left < 0.0) break;
    }
    if (pick == kRandOps) pick = last;  // the sum's rounding
    weights[pick] = 0.0;
    out.push_back(static_cast<RandOp>(pick));
  }
  return out;
}

Image rand_augment(Image image, const RandAugment& options, std::optional<ResizeFilter> filter,
                   const Colour& fill, Rng& rng) {
  for (const RandOp op : draw_rand_ops(options, rng)) {
    if (!happens(rng, options.probability)) continue;
    auto level = static_cast<double>(options.magnitude);
    if (std::isinf(options.magnitude_std))
      level = uniform_in(rng, 0.0, level);
    else if (options.magnitude_std > 0.0)
      level += options.magnitude_std * static_cast<double>(rng.normal());
    level = std::clamp(level, 0.0, static_cast<double>(options.magnitude_max));
    const bool negate = happens(rng, 0.5), smooth = happens(rng, 0.5);
    const ResizeFilter drawn = smooth ? ResizeFilter::bicubic : ResizeFilter::bilinear;
    image = apply_rand_op(std::move(image), op, rand_op_argument(op, level, options.increasing, negate),
                          filter.value_or(drawn), fill);
  }
  return image;
}

}  // namespace locant
