// Preprocess as JSON text.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "io/preprocess.h"

namespace locant {
namespace {

using nlohmann::json;
using Mode = Preprocess::Mode;
using CropOrigin = Preprocess::CropOrigin;

constexpr std::pair<Mode, const char*> kModes[] = {{Mode::resize_short, "resize_short"},
                                                   {Mode::squash, "squash"},
                                                   {Mode::short_side, "short_side"},
                                                   {Mode::border, "border"},
                                                   {Mode::keep, "keep"}};
constexpr std::pair<CropOrigin, const char*> kOrigins[] = {{CropOrigin::round_half_even, "round_half_even"},
                                                           {CropOrigin::floor, "floor"}};

/// A float as its shortest decimal: 0.485 and not 0.48500001430511475.
double shortest(float value) { return std::stod(fmt::format("{}", value)); }

std::int64_t integer(const json& value, const std::string& key) {
  require(value.is_number_integer(), "preprocess", "'{}' must be an integer, not of type {}", key,
          value.type_name());
  // Unsigned values beyond int64 come out negative and fail check().
  return value.get<std::int64_t>();
}

double number(const json& value, const std::string& key) {
  require(value.is_number(), "preprocess", "'{}' must be a number, not of type {}", key, value.type_name());
  return value.get<double>();
}

std::vector<float> numbers(const json& value, const std::string& key) {
  require(value.is_array() && !value.empty() && value.size() <= 16 &&
              std::all_of(value.begin(), value.end(), [](const json& x) { return x.is_number(); }),
          "preprocess",
          "'{}' must be three numbers, or as many as there are channels (16 at most), not of type {}", key,
          value.type_name());
  std::vector<float> result;
  for (const json& x : value) result.push_back(static_cast<float>(x.get<double>()));
  return result;
}

std::string text_of(const json& value, const std::string& key) {
  require(value.is_string(), "preprocess", "'{}' must be a string, not of type {}", key, value.type_name());
  return value.get<std::string>();
}

template <class T, std::size_t N>
T named(const std::pair<T, const char*> (&all)[N], const json& value, const std::string& key) {
  const std::string name = text_of(value, key);
  std::string known;
  for (const auto& [item, item_name] : all) {
    if (name == item_name) return item;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", item_name);
  }
  fail("preprocess", "unknown {} '{}': one of {}", key, name, known);
}

template <class T, std::size_t N>
const char* name_of(const std::pair<T, const char*> (&all)[N], T item) {
  return std::find_if(all, all + N - 1, [&](const auto& entry) { return entry.first == item; })->second;
}

void set_field(Preprocess& options, const std::string& key, const json& value) {
  if (key == "rows") {
    options.rows = integer(value, key);
  } else if (key == "columns") {
    options.columns = integer(value, key);
  } else if (key == "channels") {
    options.channels = integer(value, key);
  } else if (key == "mode") {
    options.mode = named(kModes, value, key);
  } else if (key == "crop_pct") {
    options.crop_pct = number(value, key);
  } else if (key == "resize_to") {
    options.resize_to = integer(value, key);
  } else if (key == "filter") {
    options.filter = parse_resize_filter(text_of(value, key));
  } else if (key == "mean") {
    options.mean = numbers(value, key);
  } else if (key == "std") {
    options.std = numbers(value, key);
  } else if (key == "squash_rows") {
    options.squash_rows = integer(value, key);
  } else if (key == "squash_columns") {
    options.squash_columns = integer(value, key);
  } else if (key == "crop_origin") {
    options.crop_origin = named(kOrigins, value, key);
  } else if (key == "crop") {
    require(value.is_boolean(), "preprocess", "'crop' must be true or false, not of type {}",
            value.type_name());
    options.crop = value.get<bool>();
  } else if (key == "rescale") {
    options.rescale = number(value, key);
  } else if (key == "offset") {
    options.offset = number(value, key);
  } else {
    fail("preprocess",
         "unknown key '{}': rows, columns, channels, mode, crop_pct, resize_to, filter, mean, std, "
         "squash_rows, "
         "squash_columns, crop_origin, crop, rescale, offset are known",
         key);
  }
}

}  // namespace

std::string Preprocess::to_json() const {
  const auto decimals = [](const std::vector<float>& values) {
    json list = json::array();
    for (const float value : values) list.push_back(shortest(value));
    return list;
  };
  json object = {{"rows", rows},
                 {"columns", columns},
                 {"channels", channels},
                 {"mode", name_of(kModes, mode)},
                 {"crop_pct", crop_pct},
                 {"resize_to", resize_to},
                 {"filter", std::string(resize_filter_name(filter))},
                 {"mean", decimals(mean)},
                 {"std", decimals(std)}};
  // What later versions added is written where it says something: earlier ones read the rest.
  const Preprocess plain;
  if (squash_rows != 0) object["squash_rows"] = squash_rows;
  if (squash_columns != 0) object["squash_columns"] = squash_columns;
  if (crop_origin != plain.crop_origin) object["crop_origin"] = name_of(kOrigins, crop_origin);
  if (crop != plain.crop) object["crop"] = crop;
  if (rescale != plain.rescale) object["rescale"] = rescale;
  if (offset != plain.offset) object["offset"] = offset;
  return object.dump();
}

Preprocess Preprocess::from_json(const std::string& text) {
  const json object = json::parse(text, nullptr, false);
  require(object.is_object(), "preprocess", "not a JSON object: '{}'", text.substr(0, 200));
  Preprocess options;
  for (const auto& item : object.items()) set_field(options, item.key(), item.value());
  options.check();
  return options;
}

}  // namespace locant
