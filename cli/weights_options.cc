#include "cli/weights_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/json_text.h"
#include "models/family.h"
#include "models/registry.h"

namespace locant::cli {
namespace {

/// "00005" of "model-00001-of-00005.safetensors"; empty for another name.
std::string shards_in_name(const std::string& name) {
  const std::size_t at = name.rfind("-of-");
  constexpr std::size_t kDigits = 5;
  const auto digits = [&](std::size_t from) {
    return from + kDigits <= name.size() &&
           std::all_of(name.begin() + static_cast<std::ptrdiff_t>(from),
                       name.begin() + static_cast<std::ptrdiff_t>(from + kDigits),
                       [](char c) { return c >= '0' && c <= '9'; });
  };
  if (at == std::string::npos || at < kDigits + 1 || name[at - kDigits - 1] != '-' || !digits(at - kDigits) ||
      !digits(at + 4) || name.find('.', at) != at + 4 + kDigits)
    return {};
  return name.substr(at + 4, kDigits);
}

/// "ORG/NAME" as the hub has it, and no path of a file: neither a suffix nor a folder of that name is there.
bool is_hub_id(const std::string& name) {
  const std::size_t slash = name.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == name.size() ||
      name.find('/', slash + 1) != std::string::npos || name[0] == '.' || name[0] == '~')
    return false;
  std::error_code error;
  for (const char* suffix : {".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".npz", ".tar", ".json"})
    if (name.ends_with(suffix)) return false;
  return !std::filesystem::exists(name.substr(0, slash), error);
}

}  // namespace

CLI::Option* add_weights_options(CLI::App* sub, WeightsOptions& o, const char* help) {
  sub->add_option("--model", o.model, "Model name (locant list); without it the checkpoint tells")
      ->type_name("NAME");
  add_key_options(sub, o.key, o.ignore);
  sub->add_option("--config", o.config,
                  "JSON (text or file) that overrides the model's configuration where no tensor's shape says "
                  "it: '{\"heads\": 3}'")
      ->type_name("JSON");
  sub->add_option("--preprocess", o.preprocess,
                  "JSON (text or file) that says how pictures are prepared: preprocessor_config.json, timm's "
                  "pretrained_cfg, or fields as inspect shows them")
      ->type_name("JSON");
  sub->add_flag("--no-folder-config", o.no_folder_config,
                "Pass over config.json and preprocessor_config.json beside the checkpoint");
  return sub->add_option("--weights", o.weights, help)->type_name("FILE");
}

void add_key_options(CLI::App* sub, std::string& key, std::vector<std::string>& ignore) {
  sub->add_option("--key", key,
                  "Which of several models in the file, by what stands before its names: state_dict_ema, "
                  "teacher.backbone")
      ->type_name("PATH");
  sub->add_option("--ignore", ignore,
                  "Tensors that are left out although the model has no place for them (* for any characters)")
      ->type_name("PATTERN");
}

std::string json_of_option(const std::string& flag, const std::string& given) {
  const std::size_t first = given.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  const bool is_text = given[first] == '{';
  std::string text = given;
  if (!is_text) try {
      text = read_text_file(given, kMaxConfigBytes);
    } catch (const Error& error) {
      fail("options", "{}: cannot read {}; it takes a JSON object, or a file that holds one: {}", flag, given,
           error.what());
    }
  try {
    parse_json_object(text, given);
  } catch (const Error&) {  // speaks of downloads
    fail("options", "{}: {} {}: {}", flag, is_text ? "this" : given,
         is_text ? "is not a JSON object" : "holds no JSON object", text.substr(0, 80));
  }
  return text;
}

void require_weights(const std::string& weights) {
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(weights, error))) {
    const std::filesystem::path path(weights);
    const std::string shards = shards_in_name(path.filename().string());
    if (!shards.empty() && shards != "00001")
      fail("weights",
           "{}: is one of {} shards of a model; give the folder, or the index (...index.json) beside it",
           weights, std::stoi(shards));
    return;
  }
  require(!is_hub_id(weights), "weights",
          "{}: there is no such file or folder, and nothing is downloaded; for the model of this name on the "
          "hub: "
          "`hf download {} --local-dir {}`, then give that folder",
          weights, weights, weights.substr(weights.find('/') + 1));
  require(
      entry_called(weights) == nullptr, "weights",
      "{}: is the name of a model, and no file; nothing is downloaded: get its checkpoint from who published "
      "it (timm, torchvision, the hub), then --weights FILE --model {}",
      weights, weights);
}

LoadOptions load_options(const WeightsOptions& o, WeightMode mode) {
  require_weights(o.weights);
  LoadOptions out;
  out.config = json_of_option("--config", o.config);
  out.preprocess = json_of_option("--preprocess", o.preprocess);
  out.model = o.model;
  out.mode = mode;
  if (!o.key.empty()) out.key = o.key;
  out.ignore = o.ignore;
  out.folder_config = !o.no_folder_config;
  return out;
}

LoadedModel load_weights(const WeightsOptions& options, const GlobalOptions& globals) {
  LoadedModel out = load_model(options.weights, load_options(options));
  for (const std::string& line : out.notes) write_note(globals, line);
  say_assumed(out.assumed);
  return out;
}

void say_assumed(const std::vector<std::string>& assumed) {
  if (!assumed.empty()) warn(fmt::format("assumed: {}", fmt::join(assumed, "; ")));
}

namespace {

std::string fields_json(const std::string& name, const std::string& family, const std::string& naming,
                        const std::string& key, const std::string& preprocessing, bool precision,
                        const std::vector<std::string>& assumed) {
  std::vector<std::string> texts;
  for (const std::string& what : assumed) texts.push_back(json_string(what));
  return fmt::format(R"("model":{},"family":{},"naming":{},"key":{},"preprocessing":{},{}"assumed":[{}])",
                     json_string(name), json_string(family), json_string(naming), json_string(key),
                     preprocessing, precision ? R"("precision":"float32",)" : "", fmt::join(texts, ","));
}

}  // namespace

std::string preprocessing_json(const LoadedModel& loaded) {
  const auto* sam = dynamic_cast<const Sam*>(loaded.model.get());
  if (sam == nullptr) return loaded.preprocess.to_json();
  using Json = nlohmann::ordered_json;
  const Json all = Json::parse(loaded.preprocess.to_json());
  return Json{{"longest_edge", sam->image_size()}, {"mean", all["mean"]}, {"std", all["std"]}}.dump();
}

std::string loaded_json(const LoadedModel& loaded, bool precision) {
  return fields_json(loaded.name, loaded.model->family().name, loaded.naming, loaded.key,
                     preprocessing_json(loaded), precision, loaded.assumed);
}

std::string loaded_json(const LoadedSam& loaded) {
  return fields_json(loaded.name, loaded.sam->family().name, loaded.naming, loaded.key,
                     fmt::format(R"({{"longest_edge":{}}})", loaded.sam->image_size()), true, loaded.assumed);
}

}  // namespace locant::cli
