// timm's pretrained_cfg, as timm 1.0.31's data/config.py and data/transforms_factory.py read it.
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

constexpr const char* kTimmKeys[] = {"input_size", "interpolation", "crop_pct", "crop_mode", "mean", "std"};

/// A key's value; timm takes null, 0, "" and [] for absent.
const Json* timm_key(const Json& keys, const char* key) {
  const auto found = keys.find(key);
  if (found == keys.end() || found->is_null()) return nullptr;
  if (found->is_number() && found->get<double>() == 0.0) return nullptr;
  if ((found->is_string() && found->get_ref<const std::string&>().empty()) ||
      (found->is_array() && found->empty()))
    return nullptr;
  return &*found;
}

void timm_input_size(const Json& value, Preprocess& out) {
  require(value.is_array() && value.size() == 3, "processor",
          "'input_size' must be [channels, height, width], not {}", processor_shown(value));
  out.channels = processor_side(value[0], "input_size");
  require(out.channels <= 16, "processor", "'input_size' has {} channels: 1 to 16 are allowed", out.channels);
  out.rows = processor_side(value[1], "input_size");
  out.columns = processor_side(value[2], "input_size");
}

std::string timm_text(const Json& keys, const char* key, const char* fallback) {
  const Json* value = timm_key(keys, key);
  if (value == nullptr) return fallback;
  require(value->is_string(), "processor", "'{}' must be a string, not {}", key, processor_shown(*value));
  return value->get<std::string>();
}

ResizeFilter timm_filter(std::string name, std::vector<std::string>& notes) {
  if (name == "random") {  // a choice for training; timm has no answer at evaluation for square models
    notes.emplace_back("'interpolation' is random: bicubic is used");
    name = "bicubic";
  }
  for (const ResizeFilter filter : {ResizeFilter::box, ResizeFilter::bilinear, ResizeFilter::hamming,
                                    ResizeFilter::bicubic, ResizeFilter::lanczos})
    if (resize_filter_name(filter) == name) return filter;
  fail("processor", "'interpolation' {} is not implemented: bicubic, bilinear, lanczos, box and hamming are",
       processor_shown(name));
}

}  // namespace

ProcessorResult processor_from_timm(const std::string& pretrained_cfg, const Preprocess& base) {
  Json keys = processor_object(pretrained_cfg);
  if (keys.contains("pretrained_cfg")) {
    require(keys["pretrained_cfg"].is_object(), "processor", "'pretrained_cfg' must be an object, not {}",
            processor_shown(keys["pretrained_cfg"]));
    keys = Json(keys["pretrained_cfg"]);
  }
  ProcessorResult result{base};
  if (std::none_of(std::begin(kTimmKeys), std::end(kTimmKeys),
                   [&](const char* key) { return timm_key(keys, key) != nullptr; })) {
    result.notes.emplace_back(
        "pretrained_cfg says nothing of pictures: the model's own preprocessing is used");
    return result;
  }
  Preprocess& out = result.preprocess;
  out = Preprocess{};
  out.rows = base.rows;
  out.columns = base.columns;
  out.channels = base.channels;
  if (const Json* size = timm_key(keys, "input_size")) timm_input_size(*size, out);
  out.filter = timm_filter(timm_text(keys, "interpolation", "bicubic"), result.notes);
  const Json* crop_pct = timm_key(keys, "crop_pct");
  out.crop_pct = crop_pct == nullptr ? 0.875 : processor_number(*crop_pct, "crop_pct");
  require(out.crop_pct >= 0.01 && out.crop_pct <= 1.0, "processor", "'crop_pct' {}: 0.01 to 1 is allowed",
          out.crop_pct);
  const std::string mode = timm_text(keys, "crop_mode", "center");
  if (mode == "squash") {
    out.mode = Mode::squash;
    const auto side = [&](std::int64_t size) {
      return static_cast<std::int64_t>(std::floor(static_cast<double>(size) / out.crop_pct));
    };
    out.squash_rows = side(out.rows);
    out.squash_columns = side(out.columns);
    require(std::max(out.squash_rows, out.squash_columns) <= 16384, "processor",
            "'crop_pct' {} of {} x {}: more than 16384 pixels", out.crop_pct, out.rows, out.columns);
    if (out.squash_rows == out.rows && out.squash_columns == out.columns)
      out.squash_rows = out.squash_columns = 0;
  } else if (mode == "border") {
    out.mode = Mode::border;
  } else if (mode != "center") {  // as timm does with a name that it does not know
    result.notes.push_back(fmt::format("'crop_mode' {} is not known: center is used", processor_shown(mode)));
  }
  const Json mean = {0.485, 0.456, 0.406}, deviation = {0.229, 0.224, 0.225};
  const Json *mean_said = timm_key(keys, "mean"), *std_said = timm_key(keys, "std");
  out.mean = processor_numbers(mean_said ? *mean_said : mean, "mean", out.channels, result.notes);
  out.std = processor_numbers(std_said ? *std_said : deviation, "std", out.channels, result.notes);
  for (const float x : out.std) require(x > 0.0f, "processor", "'std' must be above 0, not {}", x);
  out.check();
  return result;
}

}  // namespace locant
