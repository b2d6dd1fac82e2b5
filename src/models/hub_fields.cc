#include "models/hub_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace locant {
namespace {

bool same(const HubJson& a, const HubJson& b) {
  if (a.is_number_float() || b.is_number_float())
    return a.is_number() && b.is_number() && a.get<float>() == b.get<float>();
  return a == b;
}

/// Whether windows of one picture size are cut alike by every rule: all are complete, or the only one is the
/// whole grid.
bool cut_alike(const HubJson& config) {
  const HubJson &image = config.at("img_size"), &patch = config.at("patch_size"),
                &window = config.at("window");
  std::int64_t side[2], w[2];
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const auto pixels = image[axis].get<std::int64_t>(), cell = patch[axis].get<std::int64_t>();
    if (pixels % cell != 0) return false;
    side[axis] = pixels / cell;
    w[axis] = window[axis].get<std::int64_t>();
  }
  const bool pads = config.at("window_fit") == "pad";
  for (std::size_t stage = 0; stage < config.at("depths").size(); ++stage) {
    const bool larger = side[0] > w[0] && side[1] > w[1];
    const bool equal = side[0] == w[0] && side[1] == w[1];
    const bool whole = side[0] % w[0] == 0 && side[1] % w[1] == 0;
    const bool within = side[0] == side[1] && w[0] == w[1] && side[0] < w[0] && !pads;
    if (!(equal || within || (larger && whole))) return false;
    for (std::int64_t& s : side) s = (s + 1) / 2;
  }
  return true;
}

}  // namespace

HubJson side_or_sides(const HubJson& pair) {
  return pair.is_array() && pair.size() == 2 && pair[0] == pair[1] ? pair[0] : pair;
}

double ratio_of(std::int64_t hidden, std::int64_t dim) {
  double ratio = static_cast<double>(hidden) / static_cast<double>(dim);
  while (static_cast<std::int64_t>(static_cast<double>(dim) * ratio) < hidden)
    ratio = std::nextafter(ratio, 1e9);
  return ratio;
}

std::vector<std::string> differing_fields(const HubJson& a, const HubJson& b,
                                          const std::vector<std::string>& passed) {
  std::vector<std::string> out;
  for (const auto& item : a.items())
    if (std::find(passed.begin(), passed.end(), item.key()) == passed.end() && b.contains(item.key()) &&
        !same(item.value(), b[item.key()]))
      out.push_back(item.key());
  return out;
}

void require_fields(const std::string& target, const HubJson& config, const HubJson& has,
                    const std::vector<std::string>& passed) {
  const std::vector<std::string> differing = differing_fields(config, has, passed);
  if (differing.empty()) return;
  const std::string& key = differing.front();
  fail("convert", "{} cannot be told {} {}: it has {}; choose another naming (--to)", target, key,
       config[key].dump(), has[key].dump());
}

const std::vector<std::string>& fields_beside_the_answer() {
  static const std::vector<std::string> kFields = {
      "pos_resize", "bias_resize", "dropout",         "drop_path",      "mlp_ratio",       "mlp_hidden",
      "window_fit", "pad_order",   "patch_remainder", "merge_norm_eps", "layer_scale_init"};
  return kFields;
}

void require_pyramid(const std::string& target, const HubJson& config, const HubJson& has,
                     std::vector<std::string>& notes) {
  constexpr float kEps = 1e-5f;
  const auto merge = config.at("merge_norm_eps").get<float>();
  const bool own = merge > 0.0f;
  require((own ? merge : config.at("norm_eps").get<float>()) == kEps, "convert",
          "{} cannot be told {} {} of its patch norm and merging norms: it has 1e-5 there", target,
          own ? "merge_norm_eps" : "norm_eps", own ? merge : config.at("norm_eps").get<float>());
  for (const char* key : {"window_fit", "pad_order", "patch_remainder"}) {
    if (config.at(key) == has.at(key)) continue;
    if (!cut_alike(config))
      fail("convert",
           "{} cannot be told {} {}: it has {}, and pictures of img_size {} have windows or patches that are "
           "not whole",
           target, key, config[key].dump(), has[key].dump(), config["img_size"].dump());
    notes.push_back(
        fmt::format("{} {} becomes {}: the same for pictures of img_size, not for all of other sizes", key,
                    config[key].dump(), has[key].dump()));
  }
}

}  // namespace locant
