#include "verify/layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace locant {

using Json = nlohmann::ordered_json;

struct LayerArgs::Content {
  Json json;
  std::set<std::string> asked;

  const Json& at(const std::string& key) {
    asked.insert(key);
    const auto found = json.find(key);
    require(found != json.end(), "verify", "the layer needs the option \"{}\"", key);
    return *found;
  }
  template <class T>
  T get(const std::string& key) {
    const Json& value = at(key);
    try {
      return value.get<T>();
    } catch (const nlohmann::json::exception& e) {
      fail("verify", "the layer's option \"{}\" is {}: {}", key, value.dump(), e.what());
    }
  }
};

namespace {

std::int64_t bounded(const std::string& key, std::int64_t value) {
  constexpr std::int64_t kLargest = 1 << 20;
  require(value >= -kLargest && value <= kLargest, "verify", "the layer's option \"{}\" is {}; at most {}",
          key, value, kLargest);
  return value;
}

}  // namespace

LayerArgs::LayerArgs(const std::string& json) : content_(std::make_shared<Content>()) {
  content_->json = Json::parse(json, nullptr, false);
  require(content_->json.is_object(), "verify", "the layer's options are no JSON object: {}", json);
}

bool LayerArgs::has(const std::string& key) const {
  content_->asked.insert(key);
  const auto found = content_->json.find(key);
  return found != content_->json.end() && !found->is_null();
}
std::int64_t LayerArgs::integer(const std::string& key) const {
  return bounded(key, content_->get<std::int64_t>(key));
}
std::int64_t LayerArgs::integer(const std::string& key, std::int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}
double LayerArgs::number(const std::string& key) const { return content_->get<double>(key); }
double LayerArgs::number(const std::string& key, double fallback) const {
  return has(key) ? number(key) : fallback;
}
bool LayerArgs::boolean(const std::string& key) const { return content_->get<bool>(key); }
bool LayerArgs::boolean(const std::string& key, bool fallback) const {
  return has(key) ? boolean(key) : fallback;
}
std::string LayerArgs::text(const std::string& key) const { return content_->get<std::string>(key); }
std::string LayerArgs::text(const std::string& key, const std::string& fallback) const {
  return has(key) ? text(key) : fallback;
}
std::vector<std::int64_t> LayerArgs::integers(const std::string& key) const {
  auto out = content_->get<std::vector<std::int64_t>>(key);
  for (const std::int64_t value : out) bounded(key, value);
  return out;
}
std::vector<std::int64_t> LayerArgs::integers(const std::string& key, std::size_t count) const {
  auto out = integers(key);
  require(out.size() == count, "verify", "the layer's option \"{}\" has {} numbers; there must be {}", key,
          out.size(), count);
  return out;
}
std::string LayerArgs::choice(const std::string& key, const std::vector<std::string>& known) const {
  const std::string given = text(key);
  require(std::find(known.begin(), known.end(), given) != known.end(), "verify",
          "the layer's option \"{}\" is \"{}\"; there are {}", key, given, fmt::join(known, ", "));
  return given;
}
std::string LayerArgs::choice(const std::string& key, const std::vector<std::string>& known,
                              const std::string& fallback) const {
  return has(key) ? choice(key, known) : fallback;
}
void LayerArgs::only(const std::string& key, const std::string& supported) const {
  choice(key, {supported}, supported);
}
std::vector<std::string> LayerArgs::texts(const std::string& key) const {
  return content_->get<std::vector<std::string>>(key);
}
std::vector<std::vector<std::int64_t>> LayerArgs::integer_rows(const std::string& key) const {
  auto out = content_->get<std::vector<std::vector<std::int64_t>>>(key);
  for (const auto& row : out)
    for (const std::int64_t value : row) bounded(key, value);
  return out;
}

std::vector<std::string> LayerArgs::unused() const {
  static const std::set<std::string> described = {"height", "width", "length", "q_len", "k_len"};
  std::vector<std::string> out;
  for (const auto& item : content_->json.items())
    if (content_->asked.count(item.key()) == 0 && described.count(item.key()) == 0) out.push_back(item.key());
  return out;
}

const Var& input_at(const std::vector<Var>& inputs, std::size_t index) {
  require(index < inputs.size(), "verify", "{} inputs; the layer takes {} at least", inputs.size(),
          index + 1);
  return inputs[index];
}

std::vector<std::int64_t> key_lengths_of(const LayerArgs& args) {
  return args.has("key_lengths") ? args.integers("key_lengths") : std::vector<std::int64_t>();
}

void require_hiding_mask(const LayerArgs& args) {
  const double value = args.number("mask_value", -1e9);
  require(value <= -100.0, "verify", "a mask of {} leaves hidden keys a weight", value);
}

const std::vector<LayerKind>& layer_kinds() {
  static const std::vector<LayerKind> all = [] {
    std::vector<LayerKind> out;
    for (const auto& family :
         {conv_layer_kinds, irpe_layer_kinds, swin_layer_kinds, axial_layer_kinds, local_layer_kinds,
          relative_logit_layer_kinds, sequence_layer_kinds, linear_layer_kinds, conformer_layer_kinds})
      for (const LayerKind& kind : family()) out.push_back(kind);
    return out;
  }();
  return all;
}

OracleLayer make_layer(const std::string& layer, const LayerArgs& args, const Weights& w) {
  std::vector<std::string> known;
  for (const LayerKind& kind : layer_kinds()) {
    known.emplace_back(kind.layer);
    if (layer != kind.layer) continue;
    OracleLayer made = kind.make(args, w);
    const std::vector<std::string> unused = args.unused();
    require(unused.empty(), "verify", "the layer {} does not know the options {}", layer,
            fmt::join(unused, ", "));
    return made;
  }
  fail("verify", "unsupported layer \"{}\"; there are {}", layer, fmt::join(known, ", "));
}

}  // namespace locant
