#include "cli/segment_prompts.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/tensor_file.h"

namespace locant::cli {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostPrompts = 100000;

/// `count` numbers with commas between.
std::vector<double> numbers_of(const std::string& text, std::size_t count, const char* what) {
  std::vector<double> out;
  const char* at = text.c_str();
  while (out.size() <= count) {
    char* end = nullptr;
    const double value = std::strtod(at, &end);
    if (end == at || !std::isfinite(value)) break;
    out.push_back(value);
    at = end;
    if (*at != ',') break;
    ++at;
  }
  require(out.size() == count && *at == '\0', "segment",
          "\"{}\" is no {}; {} numbers with commas were expected", text, what, count);
  return out;
}

std::vector<double> numbers_of(const Json& json, std::size_t count, const std::string& where) {
  require(json.is_array() && json.size() == count, "segment", "{}: {} is no list of {} numbers", where,
          json.dump(), count);
  std::vector<double> out;
  for (const Json& item : json) {
    require(item.is_number() && std::isfinite(item.get<double>()), "segment", "{}: {} is no number", where,
            item.dump());
    out.push_back(item.get<double>());
  }
  return out;
}

SamPrompt prompt_of(const Json& json, const std::string& where) {
  require(json.is_object(), "segment", "{}: {} is no object", where, json.dump().substr(0, 60));
  SamPrompt out;
  for (const auto& item : json.items()) {
    const Json& value = item.value();
    if (item.key() == "points") {
      require(value.is_array(), "segment", "{}: points are no list", where);
      for (const Json& point : value) {
        const std::vector<double> xy = numbers_of(point, 2, where);
        out.points.push_back({xy[0], xy[1]});
      }
    } else if (item.key() == "labels") {
      require(value.is_array(), "segment", "{}: labels are no list", where);
      for (const Json& label : value) {
        require(label.is_number_integer() && (label == 0 || label == 1), "segment",
                "{}: a label of {}; there are 1 (inside) and 0 (outside)", where, label.dump());
        out.labels.push_back(label.get<int>());
      }
    } else if (item.key() == "box") {
      const std::vector<double> x = numbers_of(value, 4, where);
      out.box = {{x[0], x[1], x[2], x[3]}};
    } else {
      fail("segment", "{}: no prompt has \"{}\"; there are points, labels and box", where, item.key());
    }
  }
  if (out.labels.empty()) out.labels.assign(out.points.size(), 1);
  require(out.labels.size() == out.points.size(), "segment", "{}: {} labels for {} points", where,
          out.labels.size(), out.points.size());
  return out;
}

}  // namespace

PromptPoint parse_point(const std::string& text) {
  const std::vector<double> xy = numbers_of(text, 2, "point");
  return {xy[0], xy[1]};
}

PromptBox parse_box(const std::string& text) {
  const std::vector<double> x = numbers_of(text, 4, "box");
  return {x[0], x[1], x[2], x[3]};
}

std::vector<SamPrompt> read_prompts(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  require(in.good(), "segment", "cannot read the prompts {}", path);
  const Json json = Json::parse(in, nullptr, false);
  require(json.is_array() && !json.empty() && json.size() <= kMostPrompts, "segment",
          "{}: a JSON list of 1 to {} prompts was expected", path, kMostPrompts);
  std::vector<SamPrompt> out;
  for (const Json& item : json)
    out.push_back(prompt_of(item, path + ": prompt " + std::to_string(out.size())));
  return out;
}

Tensor read_mask_prompt(const std::string& path) {
  const std::unique_ptr<TensorFile> file = open_tensor_file(path);
  const auto has = [&](const char* name) {
    return std::any_of(file->tensors().begin(), file->tensors().end(),
                       [&](const TensorInfo& info) { return info.name == name; });
  };
  require(has("low_res_logits") && has("iou_predictions"), "segment",
          "{}: no low_res_logits of one prompt; a file that --logits wrote was expected", path);
  const Tensor logits = file->read("low_res_logits"), iou = file->read("iou_predictions");
  const Shape& s = logits.shape();
  require(s.rank() == 4 && s[0] == 1 && s[1] >= 1 && s[2] == s[3] && iou.numel() == s[1], "segment",
          "{}: low_res_logits of shape {}; (1, masks, side, side) was expected", path, s.str());
  const auto best = std::max_element(iou.values().begin(), iou.values().end()) - iou.values().begin();
  Tensor out({s[2], s[3]});
  std::copy_n(logits.data() + best * out.numel(), out.numel(), out.data());
  return out;
}

}  // namespace locant::cli
