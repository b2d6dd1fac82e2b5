#include "models/config_json.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace locant {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kLargestCount =
    1 << 20;  // of any size, width or depth: keeps products far from overflow

Json parse_object(const std::string& op, const std::string& text) {
  if (text.empty()) return Json::object();
  constexpr int kDeepest = 16;  // deeper ones would overflow the stack where an error message prints them
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t, Json&) {
    deep = deep || depth > kDeepest;
    return depth <= kDeepest;
  };
  Json json = Json::parse(text, watch, false);
  require(!deep, op, "the configuration nests deeper than {} levels", kDeepest);
  require(json.is_object(), op, "the configuration is not a JSON object: {}", text.substr(0, 60));
  return json;
}

std::int64_t count_of(const std::string& op, const char* key, const Json& json) {
  const bool whole = json.is_number_integer() ||
                     (json.is_number_float() && json.get<double>() == std::floor(json.get<double>()));
  if (!whole || json.get<double>() < 0 || json.get<double>() > static_cast<double>(kLargestCount))
    fail(op, "{} is {}; a whole number from 0 to {} was expected", key, json.dump().substr(0, 60),
         kLargestCount);
  return json.get<std::int64_t>();
}

/// Members of `to` that `from` has otherwise, or not.
Json json_difference(const Json& from, const Json& to) {
  Json out = Json::object();
  for (const auto& item : to.items())
    if (!from.contains(item.key()) || from[item.key()] != item.value()) out[item.key()] = item.value();
  return out;
}

bool is_pair(const Json& json) { return json.is_array() && json.size() == 2; }
Pair pair_of(const std::string& op, const char* key, const Json& json) {
  return {count_of(op, key, json[0]), count_of(op, key, json[1])};
}

}  // namespace

struct ConfigReader::State {
  std::string family;
  Json json;
  std::set<std::string> known;

  /// The value, or null when the key is absent.
  const Json* look(const char* key) {
    known.insert(key);
    const auto it = json.find(key);
    return it == json.end() ? nullptr : &*it;
  }
  [[noreturn]] void wrong(const char* key, const Json& value, const char* wanted) const {
    fail(family, "{} is {}; {} was expected", key, value.dump().substr(0, 60), wanted);
  }
};

ConfigReader::ConfigReader(std::string family, const std::string& text) : state_(std::make_unique<State>()) {
  state_->json = parse_object(family, text);
  state_->family = std::move(family);
  state_->known.insert("naming");
}

ConfigReader::~ConfigReader() = default;

void ConfigReader::field(const char* key, std::int64_t& value) {
  if (const Json* json = state_->look(key)) value = count_of(state_->family, key, *json);
}

void ConfigReader::field(const char* key, double& value) {
  const Json* json = state_->look(key);
  if (json == nullptr) return;
  if (!json->is_number()) state_->wrong(key, *json, "a number");
  value = json->get<double>();
}

void ConfigReader::field(const char* key, float& value) {
  double wide = value;
  const float before = value;
  field(key, wide);
  value = wide == before ? before : static_cast<float>(wide);
}

void ConfigReader::field(const char* key, bool& value) {
  const Json* json = state_->look(key);
  if (json == nullptr) return;
  if (!json->is_boolean()) state_->wrong(key, *json, "true or false");
  value = json->get<bool>();
}

void ConfigReader::field(const char* key, std::string& value) {
  const Json* json = state_->look(key);
  if (json == nullptr) return;
  if (!json->is_string()) state_->wrong(key, *json, "text");
  value = json->get<std::string>();
}

void ConfigReader::field(const char* key, Pair& value) {
  const Json* json = state_->look(key);
  if (json == nullptr) return;
  if (json->is_number()) {
    value.rows = value.columns = count_of(state_->family, key, *json);
    return;
  }
  if (!is_pair(*json)) state_->wrong(key, *json, "a number or [rows, columns]");
  value = pair_of(state_->family, key, *json);
}

namespace {

constexpr std::size_t kLongestList = 1024;

/// `take(item)` of each; false where the value is no list, or an item is not of the kind.
template <class T, class Take>
bool read_list(const Json& json, std::vector<T>& value, const Take& take) {
  if (!json.is_array() || json.size() > kLongestList) return false;
  value.clear();
  return std::all_of(json.begin(), json.end(), [&](const Json& item) { return take(item); });
}

}  // namespace

void ConfigReader::field(const char* key, std::vector<std::int64_t>& value) {
  const Json* json = state_->look(key);
  if (json != nullptr && !read_list(*json, value, [&](const Json& item) {
        value.push_back(count_of(state_->family, key, item));
        return true;
      }))
    state_->wrong(key, *json, "a list of numbers");
}

void ConfigReader::field(const char* key, std::vector<Pair>& value) {
  const Json* json = state_->look(key);
  if (json != nullptr && !read_list(*json, value, [&](const Json& item) {
        if (is_pair(item)) value.push_back(pair_of(state_->family, key, item));
        return is_pair(item);
      }))
    state_->wrong(key, *json, "a list of pairs of numbers");
}

void ConfigReader::field(const char* key, std::vector<double>& value) {
  const Json* json = state_->look(key);
  if (json != nullptr && !read_list(*json, value, [&](const Json& item) {
        if (item.is_number()) value.push_back(item.get<double>());
        return item.is_number();
      }))
    state_->wrong(key, *json, "a list of numbers");
}

void ConfigReader::field(const char* key, std::vector<bool>& value) {
  const Json* json = state_->look(key);
  if (json != nullptr && !read_list(*json, value, [&](const Json& item) {
        if (item.is_boolean()) value.push_back(item.get<bool>());
        return item.is_boolean();
      }))
    state_->wrong(key, *json, "a list of true and false");
}

void ConfigReader::field(const char* key, std::vector<std::string>& value) {
  const Json* json = state_->look(key);
  if (json != nullptr && !read_list(*json, value, [&](const Json& item) {
        if (item.is_string()) value.push_back(item.get<std::string>());
        return item.is_string();
      }))
    state_->wrong(key, *json, "a list of texts");
}

void ConfigReader::only_json(const char* key, const std::string& supported) {
  const Json* json = state_->look(key);
  const Json wanted = Json::parse(supported)[key];
  if (json != nullptr && *json != wanted)
    fail(state_->family, "{} is {}; this model has {} only", key, json->dump().substr(0, 200), wanted.dump());
}

void ConfigReader::object(const char* key, std::string& json) {
  const Json* value = state_->look(key);
  if (value == nullptr) return;
  if (!value->is_object()) state_->wrong(key, *value, "a JSON object");
  json = value->dump();
}

std::size_t ConfigReader::choose(const char* key, std::size_t value,
                                 std::initializer_list<const char*> names) {
  const Json* json = state_->look(key);
  if (json == nullptr) return value;
  const auto* it = std::find_if(names.begin(), names.end(), [&](const char* name) { return *json == name; });
  require(it != names.end(), state_->family, "{} is {}; there are {}", key, json->dump().substr(0, 60),
          fmt::join(names, ", "));
  return static_cast<std::size_t>(it - names.begin());
}

void ConfigReader::hold(const char* key, double value, const FieldRange& rule) const {
  const bool low = rule.without_low ? value > rule.low : value >= rule.low;
  const bool high = rule.without_high ? value < rule.high : value <= rule.high;
  if (low && high) return;  // a NaN is neither
  fail(state_->family, "{} is {}; {} {} to {} {} was expected", key, value,
       rule.without_low ? "above" : "from", rule.low, rule.without_high ? "below" : "at most", rule.high);
}

void ConfigReader::hold(const char* key, double value, const FieldDivisor& rule) const {
  const auto whole = static_cast<std::int64_t>(value);
  require(whole > 0 && rule.by > 0 && whole % rule.by == 0, state_->family,
          "{} {} does not divide into {} {}", key, whole, rule.by, rule.what);
}

void ConfigReader::finish() const {
  const std::vector<std::string> known(state_->known.begin(), state_->known.end());
  std::string wrong;
  for (const auto& item : state_->json.items()) {
    if (state_->known.count(item.key()) != 0) continue;
    const auto near = nearest_names(item.key(), known, 1);
    wrong += fmt::format("{}\"{}\"{}", wrong.empty() ? "" : ", ", item.key().substr(0, 60),
                         near.empty() ? "" : fmt::format(" (nearest: \"{}\")", near[0]));
  }
  require(wrong.empty(), state_->family, "unknown configuration keys: {}", wrong);
}

struct ConfigWriter::State {
  Json json = Json::object();
};

ConfigWriter::ConfigWriter(bool with_only) : with_only_(with_only), state_(std::make_unique<State>()) {}
ConfigWriter::~ConfigWriter() = default;
void ConfigWriter::field(const char* key, std::int64_t value) { state_->json[key] = value; }
void ConfigWriter::field(const char* key, double value) { state_->json[key] = value; }
// The shortest decimal that gives the same float: 1e-6f stays 1e-06 instead of growing the tail of its
// double.
void ConfigWriter::field(const char* key, float value) {
  state_->json[key] = std::stod(fmt::format("{}", value));
}
void ConfigWriter::field(const char* key, bool value) { state_->json[key] = value; }
void ConfigWriter::field(const char* key, const std::string& value) { state_->json[key] = value; }
void ConfigWriter::field(const char* key, const Pair& value) {
  state_->json[key] = {value.rows, value.columns};
}
void ConfigWriter::field(const char* key, const std::vector<std::int64_t>& value) {
  state_->json[key] = value;
}
void ConfigWriter::field(const char* key, const std::vector<Pair>& value) {
  Json& list = state_->json[key] = Json::array();
  for (const Pair& pair : value) list.push_back({pair.rows, pair.columns});
}
void ConfigWriter::field(const char* key, const std::vector<double>& value) { state_->json[key] = value; }
void ConfigWriter::field(const char* key, const std::vector<bool>& value) { state_->json[key] = value; }
void ConfigWriter::field(const char* key, const std::vector<std::string>& value) {
  state_->json[key] = value;
}
void ConfigWriter::object(const char* key, const std::string& json) {
  state_->json[key] = parse_object("config", json);
}
std::string ConfigWriter::str() const { return state_->json.dump(); }
std::string ConfigWriter::difference(const ConfigWriter& base) const {
  return json_difference(base.state_->json, state_->json).dump();
}

void ConfigPrint::object(const char* key, const std::string& json) {
  add(key, hash(parse_object("config", json).dump()));
}

std::vector<std::string_view> ConfigPrint::difference(const ConfigPrint& base) const {
  std::vector<std::string_view> out;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const auto& [key, value] = fields_[i];
    const bool in_order = i < base.fields_.size() && base.fields_[i].key == key;
    if (value != (in_order ? base.fields_[i].value : base.at(key))) out.push_back(key);
  }
  return out;
}

std::uint64_t ConfigPrint::at(std::string_view key) const {
  for (const Field& field : fields_)
    if (field.key == key) return field.value;
  return 0;
}

/// The last step of splitmix64 on what two numbers make.
std::uint64_t ConfigPrint::mix(std::uint64_t a, std::uint64_t b) {
  std::uint64_t x = a * 0x9e3779b97f4a7c15 + b;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

std::uint64_t ConfigPrint::hash(double value) {
  return mix(2, std::bit_cast<std::uint64_t>(value == 0.0 ? 0.0 : value));  // -0 equals 0
}

std::uint64_t ConfigPrint::hash(const std::string& value) {
  std::uint64_t out = value.size();
  for (const char c : value) out = mix(out, static_cast<unsigned char>(c));
  return out;
}

void same_length(std::string_view op, std::initializer_list<std::pair<const char*, std::size_t>> lists) {
  std::string lengths;
  bool same = true;
  for (const auto& [name, length] : lists) {
    lengths += fmt::format("{}{} {}", lengths.empty() ? "" : ", ", length, name);
    same = same && length == lists.begin()->second;
  }
  require(same, op, "{}: as many of each were expected", lengths);
}

std::set<std::string> config_keys(const std::string& config) {
  std::set<std::string> out;
  const Json json = parse_object("config", config);
  for (const auto& item : json.items()) out.insert(item.key());
  return out;
}

std::string config_difference(const std::string& base, const std::string& config) {
  return json_difference(parse_object("config", base), parse_object("config", config)).dump();
}

std::string merge_config(const std::string& base, const std::string& overrides) {
  Json json = parse_object("config", base);
  json.update(parse_object("config", overrides));
  return json.dump();
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates,
                                       std::size_t count) {
  std::vector<std::pair<std::size_t, std::size_t>> order;
  for (std::size_t i = 0; i < candidates.size(); ++i)
    order.emplace_back(edit_distance(name, candidates[i]), i);
  count = std::min(count, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end());
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) out.push_back(candidates[order[i].second]);
  return out;
}

}  // namespace locant
