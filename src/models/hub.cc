#include "models/hub.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"

namespace locant {

using Json = nlohmann::ordered_json;

namespace {

/// "vision_config.hidden_size" as a path into objects within objects.
Json::json_pointer path_of(std::string key) {
  std::replace(key.begin(), key.end(), '.', '/');
  return Json::json_pointer("/" + key);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> transformer_keys(
    std::vector<std::pair<std::string, std::string>> more) {
  std::vector<std::pair<std::string, std::string>> out = {
      {"image_size", "img_size"},    {"patch_size", "patch_size"},   {"num_channels", "in_chans"},
      {"hidden_size", "dim"},        {"num_hidden_layers", "depth"}, {"num_attention_heads", "heads"},
      {"layer_norm_eps", "norm_eps"}};
  std::move(more.begin(), more.end(), std::back_inserter(out));
  return out;
}

std::string from_hub(const HubKeys& hub, const std::string& config_json) {
  const Json given = Json::parse(merge_config(hub.defaults, config_json));
  Json out = Json::object();
  for (const auto& [theirs, ours] : hub.keys) {
    const Json value = given.value(path_of(theirs), Json());
    if (!value.is_null()) out[path_of(ours)] = value;
  }
  const auto names = given.find("id2label");
  if (names != given.end() && names->is_object() && !names->empty()) out["num_classes"] = names->size();
  return merge_config(out.dump(), hub.fixed);
}

}  // namespace locant
