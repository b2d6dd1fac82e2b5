// Preprocess in the words of transformers and timm. Each text is read again before it is given away, so that
// it says the same or is refused.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/processor.h"
#include "models/processor_keys.h"

namespace locant {
namespace {

using Json = nlohmann::json;
using Mode = Preprocess::Mode;
using Rules = ProcessorClass::Rules;
using CropOrigin = Preprocess::CropOrigin;

std::int64_t scaled_side(std::int64_t size, double crop_pct) {
  return static_cast<std::int64_t>(std::floor(static_cast<double>(size) / crop_pct));
}

/// The same rules with one spelling each: two of these are equal where the inputs that they make are.
Json meaning(Preprocess p) {
  const auto channels = static_cast<std::size_t>(p.channels);
  p.mean.resize(channels);
  p.std.resize(channels);
  const bool square = p.rows == p.columns;
  if (p.mode == Mode::resize_short && square) {
    p.mode = Mode::short_side;
    if (p.resize_to == 0) p.resize_to = scaled_side(p.rows, p.crop_pct);
  } else if (p.mode == Mode::resize_short || p.mode == Mode::border) {
    // What floor(size / crop_pct) gives counts, not which crop_pct gives it.
    const bool given = p.mode == Mode::resize_short && p.resize_to > 0;
    const std::int64_t smaller = std::min(p.rows, p.columns);
    p.squash_rows = given ? p.resize_to * p.rows / smaller : scaled_side(p.rows, p.crop_pct);
    p.squash_columns = given ? p.resize_to * p.columns / smaller : scaled_side(p.columns, p.crop_pct);
    p.resize_to = 0;
  } else if (p.mode == Mode::squash) {
    if (p.squash_rows == 0) {
      p.squash_rows = p.rows;
      p.squash_columns = p.columns;
    }
    if (p.squash_rows == p.rows && p.squash_columns == p.columns) p.crop = true;
    // The two origins are one pixel apart where a known odd remainder says so, and nowhere else.
    const auto apart = [](std::int64_t in, std::int64_t out) {
      return in >= out ? (in - out) % 4 == 3 : (out - in) % 2 == 1;
    };
    if (!apart(p.squash_rows, p.rows) && !apart(p.squash_columns, p.columns))
      p.crop_origin = CropOrigin::round_half_even;
  }
  if (p.mode == Mode::squash || p.mode == Mode::keep) p.resize_to = 0;
  if (p.mode == Mode::keep || p.mode == Mode::short_side) p.squash_rows = p.squash_columns = 0;
  if (p.mode == Mode::keep) p.filter = ResizeFilter::bicubic;
  if (!p.crop) p.crop_origin = CropOrigin::round_half_even;
  p.crop_pct = 1.0;
  Json out = Json::parse(p.to_json());
  out["crop_origin"] = p.crop_origin == CropOrigin::floor ? "floor" : "round_half_even";
  return out;
}

/// Throws Error that names what `written` does not say of `wanted`.
void require_same(const Preprocess& wanted, const Preprocess& written, const std::string& target) {
  const Json one = meaning(wanted), other = meaning(written);
  for (const char* key : {"rows", "columns", "channels", "mode", "resize_to", "squash_rows", "squash_columns",
                          "crop", "crop_origin", "filter", "mean", "std", "rescale", "offset"}) {
    const Json a = one.value(key, Json()), b = other.value(key, Json());
    require(a == b, "processor", "{} cannot say {} {}: it would be {}", target, key, a.dump(), b.dump());
  }
}

Json decimals(const std::vector<float>& values, std::int64_t channels) {
  Json list = Json::array();
  for (std::int64_t c = 0; c < channels; ++c)
    list.push_back(std::stod(fmt::format("{}", values[static_cast<std::size_t>(c)])));
  return list;
}

struct ShownSides {
  std::int64_t rows, columns;
};

/// crop_pct of which floor(size / crop_pct) is `wanted` on both axes, of the fewest decimals; where there is
/// none it fits one of them.
double pct_for(const ShownSides& size, const ShownSides& wanted) {
  const auto fits = [&](double pct) {
    return scaled_side(size.rows, pct) == wanted.rows && scaled_side(size.columns, pct) == wanted.columns;
  };
  const auto ratio = [](std::int64_t a, std::int64_t b) {
    return static_cast<double>(a) / static_cast<double>(b);
  };
  // The largest that gives no less; its quotient may round below.
  double largest = std::min(ratio(size.rows, wanted.rows), ratio(size.columns, wanted.columns));
  while (scaled_side(size.rows, largest) < wanted.rows || scaled_side(size.columns, largest) < wanted.columns)
    largest = std::nextafter(largest, 0.0);
  for (double unit = 10.0; unit <= 1e6; unit *= 10.0)
    if (const double pct = std::floor(largest * unit) / unit; pct > 0.0 && fits(pct)) return pct;
  return largest;
}

int resample_number(ResizeFilter filter) {
  switch (filter) {
    case ResizeFilter::lanczos:
      return 1;
    case ResizeFilter::bilinear:
      return 2;
    case ResizeFilter::bicubic:
      return 3;
    case ResizeFilter::box:
      return 4;
    case ResizeFilter::hamming:
      break;
  }
  return 5;
}

Json height_width(std::int64_t rows, std::int64_t columns) { return {{"height", rows}, {"width", columns}}; }

/// Short side before the crop, where it is one for all pictures; else 0.
std::int64_t short_side(const Preprocess& p) {
  if (p.mode == Mode::short_side) return p.resize_to;
  if (p.mode != Mode::resize_short || p.rows != p.columns) return 0;
  return p.resize_to > 0 ? p.resize_to : scaled_side(p.rows, p.crop_pct);
}

/// What goes under "size" for the class; sets what goes with it.
Json size_for(const Preprocess& p, const ProcessorClass& kind, const std::string& type, Json& object) {
  const std::int64_t side = short_side(p);
  if (kind.rules == Rules::convnext && p.rows == p.columns && (side > 0 || p.mode == Mode::squash)) {
    if (side > 0 && side >= p.rows) object["crop_pct"] = pct_for({p.rows, p.rows}, {side, side});
    object["do_center_crop"] = false;
    object.erase("crop_size");
    return {{"shortest_edge", p.rows}};
  }
  if (p.mode == Mode::squash && kind.rules != Rules::convnext)
    return p.squash_rows > 0 ? height_width(p.squash_rows, p.squash_columns)
                             : height_width(p.rows, p.columns);
  require(
      side > 0 && !kind.square && kind.rules != Rules::convnext, "processor",
      "{} cannot say this resize: ViT, DeiT, Beit and Pvt squash, Bit and Levit resize the short side, and "
      "ConvNext has its own two rules",
      type);
  if (kind.rules != Rules::levit) return {{"shortest_edge", side}};
  // int(256 / 224 s) passes over some sides; reading again finds out.
  return {{"shortest_edge", (side * 224 + 255) / 256}};
}

}  // namespace

std::string processor_to_json(const Preprocess& p, const std::string& type) {
  p.check();
  const ProcessorClass* kind = find_processor_class(type);
  require(
      kind != nullptr && kind->rules != Rules::own, "processor",
      "no pictures can be written for the processor {}: ViT, DeiT, Beit, Pvt, Bit, CLIP, Levit, ConvNext, "
      "VideoMAE, Vivit and DINOv3ViT, each with ImageProcessor behind it, are known",
      processor_shown(type));
  const bool straight = p.mode == Mode::squash &&
                        (p.squash_rows == 0 || (p.squash_rows == p.rows && p.squash_columns == p.columns));
  const auto channels = static_cast<std::size_t>(p.channels);
  const bool plain =
      std::all_of(p.mean.begin(), p.mean.begin() + p.channels, [](float x) { return x == 0.0f; }) &&
      std::all_of(p.std.begin(), p.std.begin() + p.channels, [](float x) { return x == 1.0f; });
  const bool rescales = p.rescale != 1.0 || p.offset != 0.0;
  Json object = {{"image_processor_type", std::string(kind->name) + "ImageProcessor"},
                 {"do_resize", p.mode != Mode::keep},
                 {"resample", resample_number(p.filter)},
                 {"do_center_crop", p.crop && !straight},
                 {"do_rescale", rescales},
                 {"rescale_factor", rescales ? p.rescale : 1.0 / 255},
                 {"do_normalize", !plain},
                 {"image_mean", decimals(p.mean, static_cast<std::int64_t>(channels))},
                 {"image_std", decimals(p.std, static_cast<std::int64_t>(channels))}};
  const Json defaults = processor_defaults(*kind);
  if (defaults.contains("offset")) object["offset"] = p.offset != 0.0;
  if (p.crop && !straight) object["crop_size"] = height_width(p.rows, p.columns);
  object["size"] = p.mode == Mode::keep ? defaults["size"] : size_for(p, *kind, type, object);
  require(kind->crops || object["do_center_crop"] == false, "processor",
          "{} has no crop before transformers 5: DeiT's, Beit's and Bit's have", type);
  std::string text = object.dump(2) + "\n";
  // Where nothing is resized the size is the model's, and no key's.
  Preprocess base = p;
  require_same(p, processor_from_json(text, "", base).preprocess, type);
  return text;
}

std::string processor_to_timm(const Preprocess& p) {
  p.check();
  Json object = {{"input_size", {p.channels, p.rows, p.columns}},
                 {"interpolation", std::string(resize_filter_name(p.filter))},
                 {"crop_mode", "center"},
                 {"crop_pct", p.crop_pct},
                 {"mean", decimals(p.mean, p.channels)},
                 {"std", decimals(p.std, p.channels)}};
  const ShownSides size = {p.rows, p.columns};
  if (const std::int64_t side = short_side(p); side > 0) {
    if (p.resize_to > 0) object["crop_pct"] = pct_for(size, {side, side});
  } else if (p.mode == Mode::resize_short && p.resize_to > 0) {
    const std::int64_t smaller = std::min(p.rows, p.columns);
    object["crop_pct"] = pct_for(size, {p.resize_to * p.rows / smaller, p.resize_to * p.columns / smaller});
  } else if (p.mode == Mode::squash) {
    object["crop_mode"] = "squash";
    object["crop_pct"] = p.squash_rows > 0 ? pct_for(size, {p.squash_rows, p.squash_columns}) : 1.0;
  } else if (p.mode == Mode::border) {
    object["crop_mode"] = "border";
  }
  require(object["crop_pct"].get<double>() <= 1.0, "processor",
          "timm cannot say a resize to less than the {} x {} that the model takes", p.rows, p.columns);
  std::string text = object.dump(2) + "\n";
  require_same(p, processor_from_timm(text, p).preprocess, "timm");
  return text;
}

}  // namespace locant
