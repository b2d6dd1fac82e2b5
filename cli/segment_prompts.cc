#include "cli/segment_prompts.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"

namespace locant::cli {
namespace {

constexpr const char* kPromptsOp = "segment";
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
  require(out.size() == count && *at == '\0', kPromptsOp,
          "\"{}\" is no {}; {} numbers with commas were expected", text, what, count);
  return out;
}

/// The start of a JSON value, for errors.
std::string shown(const nlohmann::json& json) {
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 60) + "...";
}

std::vector<double> numbers_of(const nlohmann::json& json, std::size_t count, const std::string& where) {
  require(json.is_array() && json.size() == count, kPromptsOp, "{}: {} is no list of {} numbers", where,
          shown(json), count);
  std::vector<double> out;
  for (const nlohmann::json& item : json) {
    require(item.is_number() && std::isfinite(item.get<double>()), kPromptsOp, "{}: {} in {} is no number",
            where, shown(item), shown(json));
    out.push_back(item.get<double>());
  }
  return out;
}

PromptBox box_of(const nlohmann::json& json, const std::string& where) {
  const std::vector<double> x = numbers_of(json, 4, where);
  return {x[0], x[1], x[2], x[3]};
}

const nlohmann::json& list_of(const nlohmann::json& json, const std::string& key, const std::string& where) {
  require(json.is_array(), kPromptsOp, "{}: {} of {} are no list", where, key, shown(json));
  return json;
}

/// JSON has no word for what is not finite, but Python writes NaN, Infinity and -Infinity, and others 1e999:
/// as texts they get as far as the prompt they stand in, which can then be named.
std::string quote_not_finite(const std::string& text) {
  std::string out;
  bool quoted = false;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (quoted || std::strchr("{}[]:,\" \t\r\n", c) != nullptr) {  // a NUL too
      const std::size_t step = quoted && c == '\\' && at + 1 < text.size() ? 2 : 1;
      if (c == '"') quoted = !quoted;
      out.append(text, at, step);
      at += step;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of("{}[]:,\" \t\r\n", at), text.size());
    const std::string word = text.substr(at, end - at);
    const bool number =
        std::strchr("+-.0123456789NIni", c) != nullptr && !std::isfinite(std::strtod(word.c_str(), nullptr));
    out += number ? '"' + word + '"' : word;
    at = end;
  }
  return out;
}

nlohmann::json read_json(const std::string& path) {
  std::error_code error;
  require(!std::filesystem::is_directory(path, error), kPromptsOp,
          "{} is a folder; --prompts takes a JSON file: a list of prompts", path);
  std::ifstream in(path, std::ios::binary);
  require(in.good(), kPromptsOp, "cannot read the prompts {}: {}", path, std::strerror(errno));
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  try {
    return nlohmann::json::parse(quote_not_finite(text));
  } catch (const nlohmann::json::exception&
               fault) {  // "[json.exception.parse_error.101] parse error at line 1, ..."
    const std::string what = fault.what();
    const std::size_t start = what.find("] ");
    fail(kPromptsOp, "{}: no JSON: {}", path, what.substr(start == std::string::npos ? 0 : start + 2, 200));
  }
}

std::vector<int> labels_of(const nlohmann::json& json, const std::string& key, const std::string& where) {
  std::vector<int> out;
  for (const nlohmann::json& label : list_of(json, key, where)) {
    require(label.is_number() && (label == 0 || label == 1 || label == -1), kPromptsOp,
            "{}: a label of {}; there are 1 (inside), 0 (outside) and -1 (no point)", where, shown(label));
    out.push_back(static_cast<int>(label.get<double>()));
  }
  return out;
}

/// Our word for one of the official ones; empty for what no prompt has.
std::string word_of(const std::string& key) {
  if (key == "point_coords") return "points";
  if (key == "point_labels") return "labels";
  return key == "points" || key == "labels" || key == "box" || key == "boxes" || key == "id" ? key : "";
}

/// As JSON; empty without one.
std::string id_of(const nlohmann::json& json, const std::string& where) {
  const auto id = json.find("id");
  if (id == json.end()) return {};
  require(id->is_string() || id->is_number_integer(), kPromptsOp,
          "{}: an id of {}; a text or a whole number was expected", where, shown(*id));
  return id->dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The prompts of one object: several where it has `boxes`.
std::vector<NamedPrompt> prompts_of(const nlohmann::json& json, std::string where) {
  require(json.is_object(), kPromptsOp, "{}: {} is no object", where, shown(json));
  const std::string id = id_of(json, where);
  if (!id.empty()) where += " (id " + id + ")";
  SamPrompt prompt{.name = where};
  std::vector<PromptBox> boxes;
  std::set<std::string> seen;
  for (const auto& [key, value] : json.items()) {
    const std::string word = word_of(key);
    require(
        !word.empty(), kPromptsOp,
        "{}: no prompt has \"{}\"; there are points (point_coords), labels (point_labels), box, boxes and id",
        where, key);
    require(seen.insert(word).second, kPromptsOp, "{}: {} are given twice, under both their words", where,
            word);
    if (word == "points") {
      for (const nlohmann::json& point : list_of(value, key, where)) {
        const std::vector<double> xy = numbers_of(point, 2, where);
        prompt.points.push_back({xy[0], xy[1]});
      }
    } else if (word == "labels") {
      prompt.labels = labels_of(value, key, where);
    } else if (word == "box") {  // the official examples give it as the one row of a list too
      prompt.box = {box_of(value.is_array() && value.size() == 1 ? value[0] : value, where)};
    } else if (word == "boxes") {
      for (const nlohmann::json& box : list_of(value, key, where)) boxes.push_back(box_of(box, where));
    }
  }
  if (seen.count("labels") == 0) prompt.labels.assign(prompt.points.size(), 1);
  if (seen.count("boxes") == 0) return {{prompt, id}};
  require(seen.size() == 1 + seen.count("id"), kPromptsOp,
          "{}: boxes are prompts of their own each; points, labels or a box beside them belong into another",
          where);
  require(!boxes.empty(), kPromptsOp, "{}: nothing is asked: its list of boxes is empty", where);
  std::vector<NamedPrompt> out;
  for (std::size_t b = 0; b < boxes.size(); ++b)
    out.push_back(
        {{.box = {boxes[b]}, .name = fmt::format("{}, box {} of {}", where, b + 1, boxes.size())}, id});
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

std::vector<NamedPrompt> read_prompts(const std::string& path) {
  nlohmann::json json = read_json(path);
  if (json.is_object()) json = nlohmann::json::array({json});
  require(json.is_array() && !json.empty(), kPromptsOp, "{}: a JSON list of prompts was expected", path);
  std::vector<NamedPrompt> out;
  for (std::size_t n = 0; n < json.size(); ++n) {
    for (NamedPrompt& prompt :
         prompts_of(json[n], fmt::format("{}: prompt {} of {}", path, n + 1, json.size())))
      out.push_back(std::move(prompt));
    require(out.size() <= kMostPrompts, kPromptsOp, "{}: more than {} prompts", path, kMostPrompts);
  }
  return out;
}

}  // namespace locant::cli
