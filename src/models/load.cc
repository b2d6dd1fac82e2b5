#include "models/load.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "core/error.h"
#include "io/model_folder.h"
#include "models/checkpoint.h"
#include "models/config_json.h"
#include "models/processor.h"
#include "models/recipes.h"
#include "models/registry.h"
#include "models/tell.h"

namespace locant {
namespace {

using Json = nlohmann::json;

constexpr const char* kModelKey = "locant.model";
constexpr const char* kFamilyKey = "locant.family";
constexpr const char* kConfigKey = "locant.config";
constexpr const char* kClassesKey = "locant.classes";
constexpr const char* kPreprocessKey = "locant.preprocess";

std::string meta(const TensorFile& file, const char* key) {
  const auto it = file.metadata().find(key);
  return it == file.metadata().end() ? std::string() : it->second;
}

std::vector<std::string> parse_classes(const TensorFile& file, const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  std::vector<std::string> out;
  const bool texts =
      json.is_array() && std::all_of(json.begin(), json.end(), [](const Json& x) { return x.is_string(); });
  require(texts, "load", "{}: metadata {} is no JSON list of texts", file.path(), kClassesKey);
  for (const Json& item : json) out.push_back(item.get<std::string>());
  return out;
}

/// What the file's own configuration asks for: no more tensors than the file has, so that a damaged one does
/// not build a huge model.
std::vector<Parameter> own_parameters(const TensorFile& file, const std::string& family,
                                      const std::string& config) {
  const Json json = Json::parse(config, nullptr, false);
  require(json.is_object(), "load", "{}: metadata {} is no JSON object", file.path(), kConfigKey);
  constexpr std::size_t kSpare = 64;  // for what a message then names as missing
  return model_parameters(family, config, file.tensors().size() + kSpare);
}

/// A model of the numbers of `source`; in shapes mode none is read.
std::unique_ptr<Model> build(const std::string& family, const std::string& config, CheckpointSource& source,
                             WeightMode mode) {
  ShapeSource shapes;
  WeightSource& from = mode == WeightMode::shapes ? static_cast<WeightSource&>(shapes) : source;
  return make_model(family, config, Weights(from, mode));
}

/// Canonical names, as save_model writes them.
const Renames& own_names() {
  static const Renames own = [] {
    Renames out;
    out.naming = "locant";
    return out;
  }();
  return own;
}

/// In place of what was assumed.
void take_preprocess(const ProcessorResult& told, LoadedModel& out) {
  out.preprocess = told.preprocess;
  out.notes.insert(out.notes.end(), told.notes.begin(), told.notes.end());
  std::erase_if(out.assumed, [](const std::string& what) { return what.rfind("preprocessing", 0) == 0; });
}

/// Of the caller: in our words, or in those of a library's file.
void follow_option(const std::string& text, const std::string& model_type, LoadedModel& out) {
  const Json json = Json::parse(text, nullptr, false);
  require(json.is_object(), "load", "the preprocessing asked for is no JSON object: {}", text.substr(0, 80));
  const auto any_of = [&](std::initializer_list<const char*> keys) {
    return std::any_of(keys.begin(), keys.end(), [&](const char* key) { return json.contains(key); });
  };
  ProcessorResult told;
  if (any_of({"image_mean", "image_processor_type", "feature_extractor_type", "do_resize", "do_normalize"}))
    told = processor_from_json(text, model_type, out.preprocess);
  else if (any_of({"pretrained_cfg", "input_size", "interpolation", "crop_mode"}))
    told = processor_from_timm(text, out.preprocess);
  else
    told.preprocess = Preprocess::from_json(merge_config(out.preprocess.to_json(), text));
  take_preprocess(told, out);
}

LoadedModel load_own(const TensorFile& file, const LoadOptions& options) {
  const std::string family = meta(file, kFamilyKey);
  std::string config = meta(file, kConfigKey);
  require(!config.empty(), "load", "{}: metadata has {} without {}", file.path(), kFamilyKey, kConfigKey);
  if (!options.config.empty()) config = merge_config(config, options.config);
  CheckpointSource source(file, own_names());
  const CheckpointFit fit = source.fit(own_parameters(file, family, config));
  if (fit.faults() > 0)
    fail("load", "{}: does not fit its own configuration: {}", file.path(), describe(fit));
  LoadedModel out;
  out.model = build(family, config, source, options.mode);
  out.name = meta(file, kModelKey).empty() ? family : meta(file, kModelKey);
  out.naming = own_names().naming;
  const std::string preprocess = meta(file, kPreprocessKey);
  if (!preprocess.empty()) out.preprocess = Preprocess::from_json(preprocess);
  if (!options.preprocess.empty()) follow_option(options.preprocess, "", out);
  return out;
}

/// What was read, of whose names and from where: "swin_digits (timm names, under model.)"
std::string name_of(const Reading& reading) {
  return fmt::format("{} ({} names{})", reading.entry != nullptr ? reading.entry->name : reading.family->name,
                     reading.renames->naming, reading.prefix.empty() ? "" : ", under " + reading.prefix);
}

/// How to say what a family's reason asks for.
std::string way_to_tell(const std::string& why) {
  if (why.find("must be told") == std::string::npos) return "";
  return " (--config '{\"KEY\": VALUE}', --model NAME, or its config.json beside the file)";
}

[[noreturn]] void refuse(const TensorFile& file, const std::vector<Reading>& readings,
                         const LoadOptions& options, bool described) {
  const bool told = !options.model.empty();
  const std::string under = options.key ? fmt::format(" under \"{}\"", *options.key) : "";
  if (readings.empty() && told)
    fail("load", "{}: none of its tensors{} has a name of this model", file.path(), under);
  if (readings.empty() && options.key) {
    std::vector<std::string> others;
    for (const Reading& reading : tell(TensorIndex(file), {}))
      if (reading.fit.faults() == 0 && !reading.config.empty() &&
          std::find(others.begin(), others.end(), reading.prefix) == others.end())
        others.push_back(reading.prefix);
    if (!others.empty())
      fail("load", "{}: no model stands{}; one stands under \"{}\"", file.path(), under,
           fmt::join(others, "\", one under \""));
  }
  if (readings.empty())
    fail("load",
         "{}: no known model has tensors of these names{}; `locant inspect` lists them, `locant list` the "
         "models",
         file.path(), under);
  const Reading& best = readings[0];
  // Of the family that a description names, that is nearest, or that lacks no name where the nearest is far.
  const bool far = 2 * best.fit.matched < file.tensors().size();
  for (const Reading& reading : readings)
    if ((described || reading.family == best.family || (far && !way_to_tell(reading.why).empty())) &&
        reading.config.empty() && !reading.why.empty() && best.fit.faults() > 0)
      fail("load", "{}: {}: {}{}", file.path(), name_of(reading), reading.why, way_to_tell(reading.why));
  if (best.config.empty())
    fail("load", "{}: {}: {}{}", file.path(), name_of(best), best.why, way_to_tell(best.why));
  if (told && !best.apart.empty() && (!best.fit.wrong_shape.empty() || best.fit.foreign.empty()))
    fail("load", "{}: its names are those of {}, its sizes are not: {}; without --model the tensors tell",
         file.path(), best.entry->name, fmt::join(best.apart, ", "));
  const auto lora =
      std::find_if(best.fit.foreign.begin(), best.fit.foreign.end(),
                   [](const std::string& name) { return name.find("lora_") != std::string::npos; });
  if (lora != best.fit.foreign.end())
    fail("load",
         "{}: matrices of LoRA ({}) stand beside the weights and are not merged into them; merge them where "
         "they "
         "were trained (peft: merge_and_unload()) and save the result",
         file.path(), *lora);
  std::string others;
  std::size_t listed = 0;
  for (std::size_t i = 1; i < readings.size() && listed < 3 && !told; ++i)
    if (readings[i].entry != best.entry)
      others += fmt::format("{}{} ({} faults)", listed++ == 0 ? ". Next best: " : ", ", name_of(readings[i]),
                            readings[i].fit.faults());
  const char* way =
      best.fit.foreign.empty() || !best.fit.missing.empty()
          ? ""
          : ". They would change the answer; where they may be left out, say so: --ignore PATTERN";
  fail("load", "{}: does not fit {}{}: {}{}{}", file.path(), told ? "" : "any known model; nearest is ",
       name_of(best), describe(best.fit), way, others);
}

std::string names_of(const std::vector<const ModelEntry*>& entries) {
  std::vector<std::string> out;
  for (const ModelEntry* entry : entries) out.push_back(entry->name);
  return fmt::format("{}", fmt::join(out, ", "));
}

/// Whether a variant's pictures are prepared otherwise.
bool prepares_otherwise(const ModelEntry* a, const ModelEntry* b) {
  return a->preprocess.to_json() != b->preprocess.to_json();
}

/// Lines of how the file was read, but for what is assumed.
void note_reading(const Reading& best, const std::vector<Reading>& readings, LoadedModel& out) {
  for (const std::string& line : notes_of(best.fit)) out.notes.push_back(line);
  if (!best.prefix.empty() && best.prefix != best.renames->prefix) {
    std::string line = fmt::format("the model is what stands under \"{}\"", best.prefix);
    for (const Reading& other : readings)
      if (other.prefix != best.prefix && other.fit.faults() == 0 && other.fit.matched == best.fit.matched) {
        line += fmt::format("; \"{}\" fits as well (--key chooses)", other.prefix);
        break;
      }
    out.notes.push_back(line);
  }
  for (const std::string& line : best.overruled) out.notes.push_back("config.json is overruled: " + line);
}

/// The size that goes into a model of another picture size than its variant's.
void follow_image(const Reading& best, Preprocess& preprocess) {
  const Json config = Json::parse(best.config),
             variant = Json::parse(merge_config(best.family->default_config(*best.family),
                                                best.entry == nullptr ? "{}" : best.entry->config));
  const auto size = config.find("img_size");
  if (size != config.end() && size->is_array() && size->size() == 2 &&
      (best.entry == nullptr || variant["img_size"] != *size)) {
    preprocess.rows = (*size)[0].get<std::int64_t>();
    preprocess.columns = (*size)[1].get<std::int64_t>();
    preprocess.resize_to = 0;
  }
  const auto channels = config.find("in_chans");
  if (channels != config.end() && channels->is_number_integer() && *channels != preprocess.channels) {
    preprocess.channels = channels->get<std::int64_t>();
    const auto n = static_cast<std::size_t>(std::clamp<std::int64_t>(preprocess.channels, 1, 16));
    const auto mean =
        [](const std::vector<float>& x) {  // timm's, for channels that are no red, green and blue
          return std::accumulate(x.begin(), x.end(), 0.0f) / static_cast<float>(x.size());
        };
    preprocess.mean.assign(n, mean(preprocess.mean));
    preprocess.std.assign(n, mean(preprocess.std));
  }
}

/// Preprocessing by variant and naming; what no folder says is assumed where recipes differ.
void choose_preprocess(const Reading& best, const std::vector<Reading>& readings,
                       const std::string& file_name, LoadedModel& out) {
  if (!out.model->sees()) return;
  std::string of = "ImageNet";
  if (best.entry == nullptr) {
    const std::vector<ModelEntry>& entries = entries_of(*best.family);
    if (!entries.empty()) {
      out.preprocess = entries[0].preprocess;
      of = entries[0].name;
    }
  } else {
    out.preprocess = best.entry->preprocess;
    of = best.entry->name;
  }
  const std::string own = out.preprocess.to_json(), theirs = best.renames->configure_preprocess(own);
  if (theirs != own) of = fmt::format("{}'s {}", best.renames->naming, best.family->name);
  out.preprocess = Preprocess::from_json(theirs);
  follow_image(best, out.preprocess);
  std::string word;
  const bool vit = best.family == &kVit || best.family == &kDeit;  // one shape, many recipes
  const std::int64_t classes = out.model->num_classes();
  const bool as_released = classes == 0 || classes == 1000;
  if (vit && !best.named && as_released && recipe_of_name(file_name, out.preprocess, word)) {
    out.assumed.push_back(fmt::format("preprocessing of {}, which the file's name says", word));
    return;
  }
  if (best.named) return;
  if (best.entry == nullptr) {
    out.assumed.push_back("preprocessing of " + of);
    return;
  }
  std::vector<const ModelEntry*> others;
  const auto add = [&](const ModelEntry* entry) {
    const bool made_for_others = !entry->naming.empty() && entry->naming != best.renames->naming;
    if (!made_for_others && prepares_otherwise(entry, best.entry) &&
        std::find(others.begin(), others.end(), entry) == others.end())
      others.push_back(entry);
  };
  for (const ModelEntry* entry : best.alike) add(entry);
  for (const Reading& other : readings)
    if (other.family != best.family && other.entry != nullptr && other.fit.faults() == 0 &&
        other.fit.matched == best.fit.matched && other.prefix == best.prefix)
      add(other.entry);
  if (!others.empty())
    out.assumed.push_back(fmt::format("preprocessing of {}: the tensors fit {} as well (--model chooses)", of,
                                      names_of(others)));
  else if (vit)
    out.assumed.push_back("preprocessing of " + of);
}

/// What a folder says of the head and of how pictures are prepared.
void follow_folder(const ModelFolder& folder, const HubConfig& hub, LoadedModel& out) {
  out.classes = hub.classes;
  out.answer = hub.answer;
  out.notes.insert(out.notes.end(), hub.notes.begin(), hub.notes.end());
  const auto classes = static_cast<std::int64_t>(hub.classes.size()), rows = out.model->num_classes();
  if (classes > 0 && rows > 0 && classes != rows) {
    out.notes.push_back(fmt::format("config.json names {} classes, the head has {}", classes, rows));
    out.classes.clear();
  }
  if (folder.preprocessor.empty() && hub.pretrained_cfg.empty()) return;
  const ProcessorResult told = folder.preprocessor.empty()
                                   ? processor_from_timm(hub.pretrained_cfg, out.preprocess)
                                   : processor_from_json(folder.preprocessor, hub.model_type, out.preprocess);
  take_preprocess(told, out);
}

/// The configuration with a field as the description has it, whatever the tensors say.
std::string with_told(const Reading& best, const HubConfig& hub, const char* key) {
  const Json told = Json::parse(hub.config);
  return told.contains(key) ? merge_config(best.config, Json{{key, told[key]}}.dump()) : best.config;
}

LoadedModel load_foreign(const TensorFile& file, const ModelFolder& folder, const LoadOptions& options) {
  std::optional<HubConfig> hub;
  if (!folder.config.empty()) hub = read_hub_config(folder.config);
  if (!hub && !folder.preprocessor.empty()) hub.emplace();
  TellRequest request;
  if (!options.model.empty()) request.model = &find_model(options.model);
  request.key = options.key;
  request.ignore = options.ignore;
  request.file_name = std::filesystem::path(file.path()).filename().string();
  request.option = options.config;
  if (hub && request.model == nullptr) {
    request.family = hub->family;
    request.config = hub->config;
    request.base = hub->base;
  }
  const TensorIndex index(file);
  const std::vector<Reading> readings = tell(index, request);
  if (readings.empty() || readings[0].config.empty() || readings[0].fit.faults() > 0)
    refuse(file, readings, options, request.family != nullptr);
  const Reading& best = readings[0];
  const bool plain = best.family == &kVit || best.family == &kDeit;
  const std::string otherwise = untold_computation(request.file_name);
  if (plain && request.model == nullptr && !otherwise.empty())
    fail("load",
         "{}: its name is that of a model with {}, which no tensor shows; --model NAME says which it is",
         file.path(), otherwise);
  if (!best.rivals.empty())
    fail("load",
         "{}: the tensors fit {}, and their answers differ; say which it is (--model NAME), or put its "
         "config.json beside it",
         file.path(), names_of(best.rivals));
  LoadedModel out;
  CheckpointSource source(StateDict(index, best.prefix), *best.renames);
  const std::set<std::string> asked =
      options.config.empty() ? std::set<std::string>{} : config_keys(options.config);
  for (const std::string& line : best.overruled)
    if (asked.count(line.substr(0, line.find(' '))) != 0) fail("load", "{}: asked for {}", file.path(), line);
  for (const std::string& line : best.overruled)  // names counted, no shape: blocks are missing, or too many
    if (line.rfind("depth", 0) == 0)
      fail("load", "{}: config.json says {}: {}", file.path(), line,
           describe(source.fit(model_parameters(best.family->name, with_told(best, *hub, "depth")))));
  out.model = build(best.family->name, best.config, source, options.mode);
  out.name = best.entry != nullptr ? best.entry->name : best.family->name;
  out.naming = best.renames->naming;
  out.key = best.prefix;
  if (hub) out.hub_type = hub->model_type;
  out.assumed = best.assumed;
  if (best.family == &kDeit && !best.named && !hub && request.model == nullptr &&
      Json::parse(best.config).value("layer_scale", false))
    out.assumed.push_back(
        "no rotary positions (vit_*_patch16_rope_ape_224 has the same tensors; --model chooses)");
  choose_preprocess(best, readings, request.file_name, out);
  note_reading(best, readings, out);
  if (hub) follow_folder(folder, *hub, out);
  if (!options.preprocess.empty()) follow_option(options.preprocess, hub ? hub->model_type : "", out);
  return out;
}

}  // namespace

LoadedModel load_model(const std::string& path, const LoadOptions& options) {
  const ModelFolder folder = find_model_folder(path, options.folder_config);
  const std::unique_ptr<TensorFile> file = open_tensor_file(folder.weights);
  const bool own = !meta(*file, kFamilyKey).empty();
  LoadedModel out = own ? load_own(*file, options) : load_foreign(*file, folder, options);
  out.notes.insert(out.notes.begin(), file->notes().begin(), file->notes().end());
  if (!own) out.notes.insert(out.notes.begin(), folder.notes.begin(), folder.notes.end());
  if (own && !options.model.empty() && options.model != out.name) {
    const ModelEntry& told = find_model(options.model);
    if (told.name != out.name)
      out.notes.push_back(
          fmt::format("{} was asked for, but the file says that it is {}", told.name, out.name));
  }
  const std::string classes = meta(*file, kClassesKey);
  if (!classes.empty())
    out.classes = parse_classes(*file, classes);
  else if (out.classes.empty() && out.model->num_classes() == 1000)
    out.classes = imagenet_classes();
  return out;
}

void save_model(const std::string& path, const Model& model, const SaveOptions& options) {
  std::vector<std::pair<std::string, Tensor>> tensors;
  for (const Parameter& parameter : model.parameters()) {
    const bool kept = parameter.value.defined() && parameter.value.value().defined();
    require(kept, "save",
            "{}: {} is kept in packed form only; load or build the model with WeightMode::train to save it",
            path, parameter.name);
    tensors.emplace_back(parameter.name, parameter.value.value());
  }
  save_model(path, model, tensors, options);
}

void save_model(const std::string& path, const Model& model,
                const std::vector<std::pair<std::string, Tensor>>& tensors, const SaveOptions& options) {
  const std::vector<Parameter>& parameters = model.parameters();
  std::map<std::string, const Tensor*> given;
  for (const auto& [name, tensor] : tensors) given[name] = &tensor;
  for (const Parameter& parameter : parameters) {
    const auto it = given.find(parameter.name);
    require(it != given.end(), "save", "{}: no numbers for {}", path, parameter.name);
    if (it->second->shape() != parameter.shape)
      fail("save", "{}: {} is {}, the model has {}", path, parameter.name, it->second->shape().str(),
           parameter.shape.str());
  }
  require(given.size() == parameters.size(), "save", "{}: {} tensors for {} parameters", path, given.size(),
          parameters.size());
  std::map<std::string, std::string> metadata = {{kModelKey, options.name},
                                                 {kFamilyKey, model.family().name},
                                                 {kConfigKey, model.config()},
                                                 {kPreprocessKey, options.preprocess.to_json()}};
  if (!options.classes.empty())
    metadata[kClassesKey] = Json(options.classes).dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const auto& [key, value] : options.extra) metadata[key] = value;
  write_safetensors(path, tensors, metadata);
}

std::vector<ModelGuess> guess_model(const TensorFile& file) {
  std::vector<ModelGuess> out;
  const std::string family = meta(file, kFamilyKey);
  if (!family.empty()) {
    const CheckpointFit fit =
        CheckpointSource(file, own_names()).fit(own_parameters(file, family, meta(file, kConfigKey)));
    const std::string name = meta(file, kModelKey);
    const std::size_t wrong = fit.wrong_shape.size();
    return {{name.empty() ? family : name, own_names().naming, "", fit.matched, fit.missing.size() + wrong,
             fit.foreign.size() + wrong}};
  }
  constexpr std::size_t kKept = 16;
  TellRequest request;
  request.file_name = std::filesystem::path(file.path()).filename().string();
  for (const Reading& reading : tell(TensorIndex(file), request)) {
    if (reading.config.empty()) continue;
    std::vector<const ModelEntry*> entries = reading.rivals;
    if (entries.empty()) entries = {reading.entry};
    entries.insert(entries.end(), reading.alike.begin(), reading.alike.end());
    // A tensor of another shape is missing in the right one and there in a wrong one.
    const std::size_t wrong = reading.fit.wrong_shape.size() + reading.fit.wrong_type.size();
    for (const ModelEntry* entry : entries) {
      if (out.size() == kKept) return out;
      out.push_back({entry != nullptr ? entry->name : reading.family->name, reading.renames->naming,
                     reading.prefix, reading.fit.matched, reading.fit.missing.size() + wrong,
                     reading.fit.foreign.size() + wrong, reading.assumed});
    }
  }
  return out;
}

}  // namespace locant
