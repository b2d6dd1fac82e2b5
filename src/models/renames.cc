#include "models/renames.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"
#include "models/family.h"

namespace locant {
namespace {

/// Glob with '*' for any characters, dots included.
bool glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p, ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// The value of "depth", or an item of a list, "depths.0"; nullptr where there is none.
const nlohmann::json* value_at(const nlohmann::json& object, const std::string& key) {
  const std::size_t dot = key.find('.');
  const auto it = object.find(key.substr(0, dot));
  if (it == object.end() || dot == std::string::npos) return it == object.end() ? nullptr : &*it;
  const std::size_t index = std::stoul(key.substr(dot + 1));
  return it->is_array() && index < it->size() ? &(*it)[index] : nullptr;
}

/// Renames::Override::when on a JSON object.
bool applies(const nlohmann::json& object, std::string when) {
  if (when.empty()) return true;
  const bool negated = when[0] == '!';
  if (negated) when.erase(0, 1);
  const std::size_t equals = when.find('=');
  const nlohmann::json* value = value_at(object, when.substr(0, equals));
  bool holds = false;
  if (value != nullptr && value->is_boolean()) holds = value->get<bool>();
  if (value != nullptr && value->is_number())
    holds = equals == std::string::npos ? value->get<double>() != 0
                                        : value->get<double>() == std::stod(when.substr(equals + 1));
  if (value != nullptr && value->is_string() && equals != std::string::npos)
    holds = value->get<std::string>() == when.substr(equals + 1);
  return holds != negated;
}

/// The overrides that apply to a JSON object, as one object.
std::string overrides_for(const std::string& text, const std::vector<Renames::Override>& overrides,
                          bool always_alone = false) {
  const auto object = nlohmann::json::parse(text.empty() ? "{}" : text, nullptr, false);
  require(object.is_object(), "renames", "not a JSON object: {}", text.substr(0, 60));
  std::string out = "{}";
  for (const Renames::Override& entry : overrides)
    if ((entry.always || !always_alone) && applies(object, entry.when)) out = merge_config(out, entry.values);
  return out;
}

}  // namespace

PathPattern::PathPattern(const char* text) : text_(text) {
  std::string_view left = text_;
  while (take_part(left).variable != 0) {
  }
}

PathPattern::Part PathPattern::take_part(std::string_view& pattern) {
  Part part;
  const std::size_t open = pattern.find('{');
  part.literal = pattern.substr(0, open);
  if (open == std::string_view::npos) return part;
  const std::size_t close = pattern.find('}', open);
  require(close != std::string_view::npos, "renames", "no closing brace in \"{}\"", pattern);
  const char* at = pattern.data() + open + 1;
  const char* end = pattern.data() + close;
  if (at < end && *at >= '0' && *at <= '9') at = std::from_chars(at, end, part.factor).ptr;
  require(at < end && *at >= 'a' && *at <= 'z' && part.factor > 0, "renames", "bad number in \"{}\"",
          pattern);
  part.variable = *at++;
  if (at < end && *at == '+') at = std::from_chars(at + 1, end, part.offset).ptr;
  require(at == end, "renames", "bad number in \"{}\"", pattern);
  pattern.remove_prefix(close + 1);
  return part;
}

bool PathPattern::match(std::string_view path, Numbers& numbers, std::string_view& rest) const {
  std::string_view pattern = text_;
  for (;;) {
    const Part part = take_part(pattern);
    if (!path.starts_with(part.literal)) return false;
    path.remove_prefix(part.literal.size());
    if (part.variable == 0) break;
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), number);
    if (error != std::errc() || path.front() == '-') return false;
    path.remove_prefix(static_cast<std::size_t>(end - path.data()));
    number -= part.offset;
    if (number < 0 || number % part.factor != 0) return false;
    std::int64_t& known = numbers.value[part.variable - 'a'];
    if (known >= 0 && known != number / part.factor) return false;
    known = number / part.factor;
  }
  if (!path.empty() && path.front() != '.') return false;
  rest = path;
  return true;
}

std::string PathPattern::fill(const Numbers& numbers) const {
  std::string out;
  std::string_view pattern = text_;
  for (;;) {
    const Part part = take_part(pattern);
    out += part.literal;
    if (part.variable == 0) return out;
    out += std::to_string(part.factor * numbers.value[part.variable - 'a'] + part.offset);
  }
}

Renames::Rule::Rule(const char* our_path, const char* their_path, bool whole)
    : ours(our_path), theirs{PathPattern(their_path)}, exact(whole) {}

Renames::Rule::Rule(const char* our_path, std::initializer_list<const char*> their_paths)
    : ours(our_path), theirs(their_paths.begin(), their_paths.end()) {}

std::vector<std::string> Renames::library_names(const std::string& name) const {
  for (const Rule& rule : rules) {
    PathPattern::Numbers numbers;
    std::string_view rest;
    if (!rule.ours.match(name, numbers, rest) || (rule.exact && !rest.empty())) continue;
    std::vector<std::string> out;
    for (const PathPattern& theirs : rule.theirs) out.push_back(theirs.fill(numbers).append(rest));
    return out;
  }
  return {name};
}

std::vector<SourcePiece> Renames::to_library(const std::string& name, const Shape& shape) const {
  std::vector<std::string> names = library_names(name);
  const auto parts = static_cast<std::int64_t>(names.size());
  if (parts == 1) return {{std::move(names[0]), 0, 0}};
  if (shape.rank() == 0 || shape[0] % parts != 0)
    fail("renames", "{} of shape {} does not split into {} equal parts", name, shape.str(), parts);
  std::vector<SourcePiece> out;
  for (std::int64_t i = 0; i < parts; ++i)
    out.push_back({std::move(names[static_cast<std::size_t>(i)]), i * (shape[0] / parts), shape[0] / parts});
  return out;
}

OurPiece Renames::piece_to_ours(const std::string& theirs) const {
  for (const Rule& rule : rules)
    for (std::size_t i = 0; i < rule.theirs.size(); ++i) {
      PathPattern::Numbers numbers;
      std::string_view rest;
      if (rule.theirs[i].match(theirs, numbers, rest) && (!rule.exact || rest.empty()))
        return {rule.ours.fill(numbers).append(rest), i, rule.theirs.size()};
    }
  return {theirs, 0, 1};
}

std::string Renames::to_ours(const std::string& theirs) const { return piece_to_ours(theirs).name; }

std::string Renames::path_to_library(const std::string& ours) const {
  for (const Rule& rule : rules) {
    PathPattern::Numbers numbers;
    std::string_view rest;
    if (rule.ours.match(ours, numbers, rest) && (!rule.exact || rest.empty()))
      return rule.theirs[0].fill(numbers).append(rest);
  }
  return ours;
}

std::string Renames::spelled(const std::string& in_file) const {
  for (const Alias& alias : aliases) {
    PathPattern::Numbers numbers;
    std::string_view rest;
    if (alias.spelling.match(in_file, numbers, rest)) return alias.name.fill(numbers).append(rest);
  }
  return in_file;
}

bool matches_any(const std::vector<std::string>& patterns, std::string_view text) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& pattern) { return glob(pattern, text); });
}

bool Renames::is_derived(const std::string& theirs) const {
  return theirs.ends_with(".num_batches_tracked") || matches_any(derived, theirs);
}

bool Renames::suits(const std::string& config) const {
  if (of.empty()) return true;
  const auto object = nlohmann::json::parse(config);
  return std::all_of(of.begin(), of.end(), [&](const std::string& when) { return applies(object, when); });
}

bool Renames::is_unused(const std::string& theirs) const { return matches_any(unused, theirs); }

bool is_left_behind(std::string_view name) {
  // What training leaves beside and within any model: averaging's counter, loss weights, the heads of
  // self-supervised training, a decoder of masked pictures, a representation layer that fine-tuning dropped.
  static const std::vector<std::string> kLeftBehind = {
      "n_averaged",       "best_acc1",       "rng_state",        "criterion.*",      "loss_fn.*",
      "mask_token",       "pre_logits.*",    "head.mlp.*",       "head.last_layer*", "head.0.*",
      "head.1.*",         "head.2.*",        "head.3.*",         "head.4.*",         "projector.*",
      "predictor.*",      "decoder_embed.*", "decoder_blocks.*", "decoder_norm.*",   "decoder_pred.*",
      "decoder_pos_embed"};
  return matches_any(kLeftBehind, name);
}

bool Renames::is_optional(const std::string& ours) const { return matches_any(optional, ours); }

std::string Renames::overridden(const std::string& config) const { return overrides_for(config, overrides); }

std::string Renames::configure(const std::string& config) const {
  return merge_config(config, overridden(config));
}

std::string Renames::complete(const std::string& config) const {
  return merge_config(merge_config(overrides_for(config, overrides), config),
                      overrides_for(config, overrides, true));
}

std::string Renames::configure_preprocess(const std::string& text) const {
  return merge_config(text, overrides_for(text, preprocess));
}

std::vector<Renames> same_names(std::initializer_list<const char*> namings) {
  std::vector<Renames> out;
  for (const char* naming : namings) out.emplace_back().naming = naming;
  return out;
}

const std::vector<Renames>& renames_of(const std::string& family) {
  static std::mutex mutex;
  static std::map<const Family*, std::vector<Renames>> known;
  const Family& of = find_family(family);
  const std::lock_guard lock(mutex);
  const auto found = known.find(&of);
  return found != known.end() ? found->second : known[&of] = of.renames();
}

const Renames& find_renames(const std::string& family, const std::string& naming) {
  std::vector<std::string> namings;
  for (const Renames& renames : renames_of(family)) {
    if (renames.naming == naming) return renames;
    namings.push_back(renames.naming);
  }
  fail("renames", "{} has no tensor names \"{}\"; there are {}", family, naming, fmt::join(namings, ", "));
}

const Renames& find_renames(const std::string& family, const std::string& naming, const std::string& config) {
  find_renames(family, naming);
  for (const Renames& renames : renames_of(family))
    if (renames.naming == naming && renames.suits(config)) return renames;
  fail("renames", "the names of {} depend on the depths of a {}; those of {} are not among the known ones",
       naming, family, config);
}

}  // namespace locant
