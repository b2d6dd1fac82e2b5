#include "models/processor.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "models/processor_keys.h"

namespace locant {
namespace {

using Json = nlohmann::json;
using Mode = Preprocess::Mode;
using Rules = ProcessorClass::Rules;

/// Keys that change no number of the input.
constexpr const char* kInert[] = {"_processor_class",
                                  "_valid_processor_keys",
                                  "auto_map",
                                  "data_format",
                                  "default_to_square",
                                  "device",
                                  "disable_grouping",
                                  "do_reduce_labels",
                                  "feature_extractor_type",
                                  "image_processor_type",
                                  "image_seq_length",
                                  "input_data_format",
                                  "model_input_names",
                                  "num_frames",
                                  "processor_class",
                                  "reduce_labels",
                                  "return_tensors",
                                  "transformers_version"};

/// Pillow's numbers.
ResizeFilter filter_of(const Json& value) {
  constexpr ResizeFilter kFilters[] = {ResizeFilter::lanczos, ResizeFilter::bilinear, ResizeFilter::bicubic,
                                       ResizeFilter::box, ResizeFilter::hamming};
  const std::int64_t number = value.is_number_integer() ? value.get<std::int64_t>() : -1;
  require(number != 0, "processor", "'resample' 0, nearest, is not implemented: 1 to 5 are");
  require(number >= 1 && number <= 5, "processor",
          "'resample' must be 1 lanczos, 2 bilinear, 3 bicubic, 4 box or 5 hamming, not {}",
          processor_shown(value));
  return kFilters[number - 1];
}

/// 0: not said.
struct Sides {
  std::int64_t rows = 0, columns = 0, shortest = 0, longest = 0;
};

Sides sides_of(const Json& value, const std::string& key, bool square) {
  Sides out;
  if (value.is_object()) {
    for (const auto& item : value.items()) {
      if (item.value().is_null()) continue;
      const std::pair<const char*, std::int64_t*> places[] = {{"height", &out.rows},
                                                              {"width", &out.columns},
                                                              {"shortest_edge", &out.shortest},
                                                              {"longest_edge", &out.longest}};
      const auto* place = std::find_if(std::begin(places), std::end(places),
                                       [&](const auto& entry) { return item.key() == entry.first; });
      require(place != std::end(places), "processor",
              "'{}' has the key {}: height and width, or shortest_edge, is known", key,
              processor_shown(item.key()));
      *place->second = processor_side(item.value(), key + "." + item.key());
    }
    require((out.rows > 0) == (out.columns > 0) && (out.rows == 0 || out.shortest + out.longest == 0) &&
                out.rows + out.shortest + out.longest > 0,
            "processor", "'{}' must say height and width, or shortest_edge, not {}", key,
            processor_shown(value));
  } else if (value.is_array()) {
    require(value.size() == 2, "processor", "'{}' must be [height, width], not {}", key,
            processor_shown(value));
    out.rows = processor_side(value[0], key);
    out.columns = processor_side(value[1], key);
  } else if (square) {
    out.rows = out.columns = processor_side(value, key);
  } else {
    out.shortest = processor_side(value, key);
  }
  return out;
}

/// ConvNextImageProcessor's resize: below 384 it crops by itself.
void resize_convnext(const Json& keys, const Sides& size, Preprocess& out) {
  const std::int64_t side = size.shortest;
  require(side > 0, "processor",
          "'size' of a ConvNextImageProcessor must be a number or shortest_edge, not {}",
          processor_shown(keys["size"]));
  out.rows = out.columns = side;
  if (side >= 384) {
    out.mode = Mode::squash;
    return;
  }
  const double crop_pct = processor_number(keys["crop_pct"], "crop_pct");
  require(crop_pct > 0.0 && crop_pct <= 1.0 && static_cast<double>(side) / crop_pct <= 16384.0, "processor",
          "'crop_pct' {} with 'size' {}: above 0 to 1 is allowed, and a short side of 16384", crop_pct, side);
  out.mode = Mode::short_side;
  out.resize_to = static_cast<std::int64_t>(static_cast<double>(side) / crop_pct);
}

void resize_and_crop(const Json& keys, const ProcessorClass& kind, Preprocess& out,
                     std::vector<std::string>& notes) {
  const bool resizes = processor_bool(keys, "do_resize");
  out.crop = processor_bool(keys, "do_center_crop");
  out.crop_origin = Preprocess::CropOrigin::floor;
  out.crop_pct = 1.0;
  out.resize_to = out.squash_rows = out.squash_columns = 0;
  out.mode = Mode::keep;
  if (resizes) {
    out.filter = filter_of(keys["resample"]);
    const Sides size = sides_of(keys["size"], "size", kind.square);
    require(size.longest == 0, "processor",
            "'size' {} keeps a picture's aspect whatever it is: models of fixed sizes are all that is here",
            processor_shown(keys["size"]));
    if (kind.rules == Rules::convnext) {
      resize_convnext(keys, size, out);
    } else if (size.rows > 0) {
      out.mode = Mode::squash;
      out.rows = size.rows;
      out.columns = size.columns;
    } else {
      out.mode = Mode::short_side;
      out.rows = out.columns = size.shortest;
      out.resize_to = size.shortest;
      if (kind.rules == Rules::levit)
        out.resize_to = static_cast<std::int64_t>((256.0 / 224.0) * static_cast<double>(size.shortest));
    }
  }
  if (out.crop) {
    require(!keys["crop_size"].is_null(), "processor", "'do_center_crop' is true and no 'crop_size' is said");
    const Sides cut = sides_of(keys["crop_size"], "crop_size", true);
    require(cut.rows > 0, "processor", "'crop_size' must be a number or height and width, not {}",
            processor_shown(keys["crop_size"]));
    if (kind.rules == Rules::convnext && out.mode == Mode::short_side)
      require(cut.rows == out.rows && cut.columns == out.columns, "processor",
              "'crop_size' {} after the {} x {} that a ConvNextImageProcessor crops by itself: two crops are "
              "not implemented",
              processor_shown(keys["crop_size"]), out.rows, out.columns);
    if (out.mode == Mode::squash) {
      out.squash_rows = out.rows;
      out.squash_columns = out.columns;
    }
    out.rows = cut.rows;
    out.columns = cut.columns;
  } else if ((kind.rules == Rules::convnext && resizes) || out.mode == Mode::squash) {
    out.crop = true;  // what was resized has the size
  } else {
    notes.push_back(fmt::format("nothing is cropped: only pictures that {} {} x {} are taken",
                                resizes ? "become" : "have", out.columns, out.rows));
  }
}

void scale(const Json& keys, Preprocess& out, std::vector<std::string>& notes) {
  const bool offset = keys.contains("offset") && processor_bool(keys, "offset");
  out.rescale = 1.0;
  out.offset = offset ? 1.0 : 0.0;
  if (processor_bool(keys, "do_rescale")) {
    out.rescale = processor_number(keys["rescale_factor"], "rescale_factor");
    require(out.rescale > 0.0, "processor", "'rescale_factor' must be above 0, not {}", out.rescale);
  } else {
    require(!offset, "processor", "'offset' is true and 'do_rescale' false: transformers refuses that too");
  }
  out.mean.assign(static_cast<std::size_t>(out.channels), 0.0f);
  out.std.assign(static_cast<std::size_t>(out.channels), 1.0f);
  if (!processor_bool(keys, "do_normalize")) return;
  out.mean = processor_numbers(keys["image_mean"], "image_mean", out.channels, notes);
  out.std = processor_numbers(keys["image_std"], "image_std", out.channels, notes);
  for (const float x : out.std)
    require(x > 0.0f, "processor", "'image_std' must be above 0, not {}", processor_shown(keys["image_std"]));
}

const ProcessorClass& class_of(const Json& file, const std::string& model_type,
                               std::vector<std::string>& notes) {
  const ProcessorClass& plain = *find_processor_class("ViTImageProcessor");
  for (const char* key : {"image_processor_type", "feature_extractor_type"}) {
    if (!file.contains(key) || file[key].is_null()) continue;
    require(file[key].is_string(), "processor", "'{}' must be a string, not {}", key,
            processor_shown(file[key]));
    if (const ProcessorClass* kind = find_processor_class(file[key].get_ref<const std::string&>()))
      return *kind;
    notes.push_back(fmt::format("the processor {} is not known: its keys are read as a ViTImageProcessor's",
                                processor_shown(file[key])));
    return plain;
  }
  if (const ProcessorClass* kind = processor_class_of_model(model_type)) return *kind;
  notes.push_back(
      fmt::format("no processor is named, and none is known for the model type {}: its keys are "
                  "read as a ViTImageProcessor's",
                  processor_shown(model_type)));
  return plain;
}

/// `defaults` with what the file says, and a note of what nobody reads. A do_ key of null is off in every
/// release; another key of null was the default in transformers 4, and is refused in 5.
Json merged(const Json& file, Json defaults, std::vector<std::string>& notes) {
  std::string unknown;
  std::int64_t count = 0;
  for (const auto& item : file.items()) {
    if (item.value().is_null()) {
      if (defaults.contains(item.key()) && defaults[item.key()].is_boolean()) defaults[item.key()] = false;
    } else if (defaults.contains(item.key())) {
      defaults[item.key()] = item.value();
    } else if (std::find(std::begin(kInert), std::end(kInert), item.key()) == std::end(kInert)) {
      if (++count <= 8)
        unknown += fmt::format("{}{}", unknown.empty() ? "" : ", ", processor_shown(item.key()));
    }
  }
  if (count > 8) unknown += fmt::format(" and {} more", count - 8);
  if (count > 0) notes.push_back(fmt::format("{} of the processor: not read", unknown));
  return defaults;
}

}  // namespace

ProcessorResult processor_from_json(const std::string& text, const std::string& model_type,
                                    const Preprocess& base) {
  Json file = processor_object(text);
  if (file.contains("image_processor") && file["image_processor"].is_object())
    file = Json(file["image_processor"]);
  // transformers around timm: the class reads nothing but this.
  if (file.contains("pretrained_cfg")) return processor_from_timm(file.dump(), base);
  ProcessorResult result{base};
  const ProcessorClass& kind = class_of(file, model_type, result.notes);
  if (kind.rules == Rules::own) {
    result.notes.push_back(fmt::format("{}ImageProcessor: the model has its own preprocessing", kind.name));
    return result;
  }
  const Json keys = merged(file, processor_defaults(kind), result.notes);
  require(!processor_bool(keys, "do_pad"), "processor",
          "'do_pad' is true: padded pictures are for models that have their own preprocessing (SAM)");
  require(!processor_bool(keys, "do_flip_channel_order"), "processor",
          "'do_flip_channel_order' is true: models of blue, green, red are not implemented");
  resize_and_crop(keys, kind, result.preprocess, result.notes);
  scale(keys, result.preprocess, result.notes);
  if (kind.rules == Rules::floats && result.preprocess.mode != Mode::keep)
    result.notes.push_back(
        fmt::format("{}ImageProcessor resizes after the rescale and does not round: up to one "
                    "grey level from here",
                    kind.name));
  result.preprocess.check();
  return result;
}

}  // namespace locant
