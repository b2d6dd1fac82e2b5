#include "models/load.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "models/checkpoint.h"
#include "models/config_json.h"
#include "models/registry.h"

namespace locant {
namespace {

using Json = nlohmann::json;

constexpr const char* kModelKey = "locant.model";
constexpr const char* kFamilyKey = "locant.family";
constexpr const char* kConfigKey = "locant.config";
constexpr const char* kClassesKey = "locant.classes";
constexpr const char* kPreprocessKey = "locant.preprocess";

/// A way to read a file: what to build and whose names it has.
struct Candidate {
  const ModelEntry* entry = nullptr;
  const Renames* renames = nullptr;
  std::string config;
  CheckpointFit fit;
};

std::string with_classes(const std::string& config, std::int64_t classes) {
  return classes > 0 ? merge_config(config, fmt::format(R"({{"num_classes":{}}})", classes)) : config;
}

/// 0 where the entry was written for this naming, 1 where it names none, 2 where it was written for another.
int strangeness(const ModelEntry& entry, const Renames& renames) {
  if (entry.naming.empty()) return 1;
  return entry.naming == renames.naming ? 0 : 2;
}

/// A family's names for a file, prepared once for all entries of the family.
using Sources = std::vector<std::pair<const Renames*, CheckpointSource>>;

Sources sources_of(const TensorFile& file, const std::string& family) {
  Sources out;
  for (const Renames& renames : renames_of(family))
    out.emplace_back(&renames, CheckpointSource(file, renames));
  return out;
}

/// The entry under every naming that shares a name with the file.
void add_candidates(const Sources& sources, const ModelEntry& entry, std::int64_t classes,
                    std::vector<Candidate>& out) {
  std::map<std::string, std::vector<Parameter>> by_config;
  for (const auto& [renames, source] : sources) {
    Candidate candidate{&entry, renames, with_classes(renames->configure(entry.config), classes), {}};
    const auto [it, added] = by_config.try_emplace(candidate.config);
    if (added) it->second = model_parameters(entry.family, candidate.config);
    const std::vector<Parameter>& parameters = it->second;
    bool shared = false;  // the first few tell whether the rest is worth a look
    for (std::size_t i = 0; i < std::min<std::size_t>(parameters.size(), 6) && !shared; ++i)
      shared = source.has(parameters[i]);
    if (!shared) continue;
    candidate.fit = source.fit(parameters);
    if (candidate.fit.matched > 0) out.push_back(std::move(candidate));
  }
}

/// Best first: fewest faults, then most of the file, then the entry's own naming, then the registry's order.
std::vector<Candidate> candidates_for(const TensorFile& file, const ModelEntry* only, std::int64_t classes) {
  std::vector<Candidate> out;
  std::map<std::string, Sources> by_family;
  for (const ModelEntry& entry : model_entries()) {
    if (only != nullptr && only != &entry) continue;
    if (classes != 0 && !entry.has_head) continue;
    const auto [it, added] = by_family.try_emplace(entry.family);
    if (added) it->second = sources_of(file, entry.family);
    add_candidates(it->second, entry, classes, out);
  }
  std::stable_sort(out.begin(), out.end(), [](const Candidate& a, const Candidate& b) {
    if (a.fit.faults() != b.fit.faults()) return a.fit.faults() < b.fit.faults();
    if (a.fit.faults() == 0 && a.fit.matched != b.fit.matched) return a.fit.matched > b.fit.matched;
    return strangeness(*a.entry, *a.renames) < strangeness(*b.entry, *b.renames);
  });
  return out;
}

/// Classes of the file where only the head's size is wrong, else 0.
std::int64_t classes_in_file(const Candidate& candidate) {
  const CheckpointFit& fit = candidate.fit;
  if (fit.wrong_shape.empty() || !fit.missing.empty() || !fit.unexpected.empty()) return 0;
  const Family& family = find_family(candidate.entry->family);
  const std::int64_t registered = family.classes(family, candidate.config);
  const std::int64_t classes = fit.wrong_shape[0].in_file.rank() > 0 ? fit.wrong_shape[0].in_file[0] : 0;
  for (const auto& wrong : fit.wrong_shape) {
    if (wrong.in_file.rank() != wrong.expected.rank() || wrong.in_file.rank() == 0) return 0;
    if (wrong.in_file[0] != classes || wrong.expected[0] != registered) return 0;
    for (int axis = 1; axis < wrong.expected.rank(); ++axis)
      if (wrong.in_file[axis] != wrong.expected[axis]) return 0;
  }
  return classes;
}

[[noreturn]] void refuse(const TensorFile& file, const std::vector<Candidate>& candidates, bool told) {
  if (candidates.empty() && told)
    fail("load", "{}: none of its tensors has a name of this model", file.path());
  if (candidates.empty())
    fail("load",
         "{}: no known model has tensors of these names; `locant inspect` lists them, `locant list` the "
         "models",
         file.path());
  const Candidate& best = candidates[0];
  const std::int64_t classes = classes_in_file(best);
  if (classes > 0)
    fail("load", "{}: its head has {} classes ({} is {}), {} has another number; load it with num_classes {}",
         file.path(), classes, best.fit.wrong_shape[0].name, best.fit.wrong_shape[0].in_file.str(),
         best.entry->name, classes);
  std::string others;
  for (std::size_t i = 1; i < std::min<std::size_t>(candidates.size(), 4) && !told; ++i)
    others += fmt::format("{}{} ({} faults)", i == 1 ? ". Next best: " : ", ", candidates[i].entry->name,
                          candidates[i].fit.faults());
  fail("load", "{}: does not fit {}{} ({} names): {}{}", file.path(),
       told ? "" : "any known model; nearest is ", best.entry->name, best.renames->naming, describe(best.fit),
       others);
}

void add_notes(const CheckpointFit& fit, std::vector<std::string>& notes) {
  const auto line = [&](const std::vector<std::string>& names, const char* why) {
    if (!names.empty())
      notes.push_back(fmt::format("{} tensor{} ({}{}) {}", names.size(), names.size() == 1 ? "" : "s",
                                  names[0], names.size() == 1 ? "" : ", ...", why));
  };
  line(fit.derived, "ignored: index tables and masks are computed from the shapes");
  line(fit.unused, "ignored: this model does not use them");
  line(fit.defaulted, "not in the file: at their initial value, which this model never uses");
}

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

/// Canonical names, as save_model writes them.
const Renames& own_names() {
  static const Renames own = [] {
    Renames out;
    out.naming = "locant";
    return out;
  }();
  return own;
}

LoadedModel load_own(const TensorFile& file, const LoadOptions& options) {
  const std::string family = meta(file, kFamilyKey), config = meta(file, kConfigKey);
  require(!config.empty(), "load", "{}: metadata has {} without {}", file.path(), kFamilyKey, kConfigKey);
  CheckpointSource source(file, own_names());
  const CheckpointFit fit = source.fit(own_parameters(file, family, config));
  if (fit.faults() > 0)
    fail("load", "{}: does not fit its own configuration: {}", file.path(), describe(fit));
  LoadedModel out;
  out.model = make_model(family, config, Weights(source, options.mode));
  out.name = meta(file, kModelKey).empty() ? family : meta(file, kModelKey);
  out.naming = own_names().naming;
  const std::string preprocess = meta(file, kPreprocessKey);
  if (!preprocess.empty()) out.preprocess = Preprocess::from_json(preprocess);
  return out;
}

LoadedModel load_foreign(const TensorFile& file, const LoadOptions& options) {
  const ModelEntry* told = options.model.empty() ? nullptr : &find_model(options.model);
  require(options.num_classes >= LoadOptions::kClassesOfFile, "load", "num_classes is {}",
          options.num_classes);
  std::vector<Candidate> candidates =
      candidates_for(file, told, std::max<std::int64_t>(options.num_classes, 0));
  if (options.num_classes == LoadOptions::kClassesOfFile && !candidates.empty() &&
      candidates[0].fit.faults() > 0) {
    const std::int64_t classes = classes_in_file(candidates[0]);
    if (classes > 0) candidates = candidates_for(file, candidates[0].entry, classes);
  }
  if (candidates.empty() || candidates[0].fit.faults() > 0) refuse(file, candidates, told != nullptr);
  const Candidate& best = candidates[0];
  LoadedModel out;
  CheckpointSource source(file, *best.renames);
  out.model = make_model(best.entry->family, best.config, Weights(source, options.mode));
  out.name = best.entry->name;
  out.naming = best.renames->naming;
  out.preprocess =
      Preprocess::from_json(best.renames->configure_preprocess(best.entry->preprocess.to_json()));
  add_notes(best.fit, out.notes);
  std::set<std::string> alike;
  for (std::size_t i = 1; i < candidates.size(); ++i)
    if (candidates[i].fit.faults() == 0 && candidates[i].fit.matched == best.fit.matched &&
        candidates[i].entry != best.entry)  // not a part of the same model
      alike.insert(candidates[i].entry->name);
  if (!alike.empty())
    out.notes.push_back(fmt::format(
        "the tensors fit {} as well, whose pictures are prepared otherwise; name the model to choose",
        fmt::join(alike, ", ")));
  return out;
}

}  // namespace

LoadedModel load_model(const std::string& path, const LoadOptions& options) {
  const std::unique_ptr<TensorFile> file = open_tensor_file(path);
  const bool own = !meta(*file, kFamilyKey).empty();
  LoadedModel out = own ? load_own(*file, options) : load_foreign(*file, options);
  out.notes.insert(out.notes.begin(), file->notes().begin(), file->notes().end());
  if (own && !options.model.empty() && options.model != out.name) {
    const ModelEntry& told = find_model(options.model);
    if (told.name != out.name)
      out.notes.push_back(
          fmt::format("{} was asked for, but the file says that it is {}", told.name, out.name));
  }
  const std::string classes = meta(*file, kClassesKey);
  if (!classes.empty())
    out.classes = parse_classes(*file, classes);
  else if (out.model->num_classes() == 1000)
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
    return {{name.empty() ? family : name, own_names().naming, fit.matched, fit.missing.size() + wrong,
             fit.unexpected.size() + wrong}};
  }
  constexpr std::size_t kKept = 8;
  for (const Candidate& candidate : candidates_for(file, nullptr, 0)) {
    if (out.size() == kKept) break;
    // A tensor of another shape is missing in the right one and there in a wrong one.
    const std::size_t wrong = candidate.fit.wrong_shape.size();
    out.push_back({candidate.entry->name, candidate.renames->naming, candidate.fit.matched,
                   candidate.fit.missing.size() + wrong, candidate.fit.unexpected.size() + wrong});
  }
  return out;
}

}  // namespace locant
