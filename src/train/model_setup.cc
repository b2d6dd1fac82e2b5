#include "train/model_setup.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "models/config_json.h"
#include "models/load.h"
#include "models/registry.h"

namespace locant {
namespace {

using Json = nlohmann::json;

/// What to build, before the number of classes is put in.
struct Plan {
  std::string name, family, config;
  Preprocess form;
};

/// Numbers of a checkpoint's model; tensors of its head that another number of classes changes start at
/// random.
class InitSource final : public WeightSource {
 public:
  InitSource(const Model& from, std::int64_t classes, std::uint64_t seed)
      : old_classes_(from.num_classes()), classes_(classes), random_(seed) {
    for (const Parameter& parameter : from.parameters()) tensors_[parameter.name] = parameter.value.value();
  }

  Tensor get(const std::string& name, const Shape& shape, const Init& init) override {
    const auto found = tensors_.find(name);
    if (found != tensors_.end() && found->second.shape() == shape) return found->second.clone();
    const bool changes = shape.rank() >= 1 && shape[0] == classes_ && old_classes_ != classes_;
    const bool head = changes && (found == tensors_.end()
                                      ? old_classes_ == 0
                                      : old_classes_ > 0 && found->second.shape().rank() == shape.rank() &&
                                            found->second.numel() / old_classes_ * classes_ == shape.numel());
    if (!head && found != tensors_.end())
      fail("train", "{} has shape {} in the checkpoint, {} in the model", name, found->second.shape().str(),
           shape.str());
    if (!head) fail("train", "the checkpoint has no {}", name);
    fresh.push_back(name);
    return random_.get(name, shape, init);
  }

  std::vector<std::string> fresh;  ///< what started at random

 private:
  std::map<std::string, Tensor> tensors_;
  std::int64_t old_classes_, classes_;
  RandomSource random_;
};

Json parse_overrides(const std::string& text) {
  if (text.empty()) return Json::object();
  Json overrides = Json::parse(text, nullptr, false);
  require(overrides.is_object(), "train", "the configuration is not a JSON object: {}", text.substr(0, 80));
  return overrides;
}

LoadedModel load_init(const TrainOptions& options) {
  LoadOptions load{.mode = WeightMode::train, .ignore = options.ignore};
  if (!options.key.empty()) load.key = options.key;
  // A file of ours knows its own configuration; others may need to be told the model, or a field of it.
  try {
    return load_model(options.init, load);
  } catch (const Error&) {
    Json told = parse_overrides(options.config);
    for (const char* key : {"family", "preprocess", "img_size", "num_classes"}) told.erase(key);
    if (options.model.empty() && told.empty()) throw;
    load.model = options.model;
    if (!told.empty()) load.config = told.dump();
    return load_model(options.init, load);
  }
}

// Size and channels of the pictures follow the configuration where it was overridden.
void follow_config(const Json& overrides, Preprocess& form) {
  if (overrides.contains("img_size")) {
    const Json& size = overrides["img_size"];
    const bool pair =
        size.is_array() && size.size() == 2 && size[0].is_number_integer() && size[1].is_number_integer();
    require(pair || size.is_number_integer(), "train", "img_size {} is neither a number nor a pair",
            size.dump());
    form.rows = pair ? size[0].get<std::int64_t>() : size.get<std::int64_t>();
    form.columns = pair ? size[1].get<std::int64_t>() : form.rows;
    form.resize_to = form.squash_rows = form.squash_columns = 0;
    if (form.mode == Preprocess::Mode::short_side) form.mode = Preprocess::Mode::resize_short;
  }
  if (overrides.contains("in_chans")) {
    require(overrides["in_chans"].is_number_integer(), "train", "in_chans {} is not a number",
            overrides["in_chans"].dump());
    form.channels = overrides["in_chans"].get<std::int64_t>();
    if (form.channels == 1) form.mean = form.std = {0.5f};
  }
  require(form.channels == 1 || form.channels == 3, "train", "pictures have 1 or 3 channels, not {}",
          form.channels);
  require(form.rows >= 1 && form.rows <= 8192 && form.columns >= 1 && form.columns <= 8192, "train",
          "pictures of {} x {} are not possible", form.rows, form.columns);
}

Plan make_plan(const TrainOptions& options, const LoadedModel& loaded) {
  Json overrides = parse_overrides(options.config);
  Plan plan;
  if (!options.model.empty()) {
    const ModelEntry& entry = find_model(options.model);
    plan = {entry.name, entry.family, entry.config, entry.preprocess};
  } else if (loaded.model) {
    plan = {loaded.name, loaded.model->family().name, loaded.model->config(), loaded.preprocess};
  } else {
    require(overrides.contains("family") && overrides["family"].is_string(), "train",
            "the configuration names no \"family\", and no model is given");
    plan.name = plan.family = overrides["family"].get<std::string>();
  }
  if (overrides.contains("family"))
    require(overrides["family"] == plan.family, "train", "{} is of the family {}, the configuration says {}",
            plan.name, plan.family, overrides["family"].dump());
  overrides.erase("family");
  std::string form;
  if (overrides.contains("preprocess")) form = overrides["preprocess"].dump();
  overrides.erase("preprocess");
  follow_config(overrides, plan.form);
  if (!form.empty()) plan.form = Preprocess::from_json(merge_config(plan.form.to_json(), form));
  plan.config = merge_config(plan.config.empty() ? "{}" : plan.config, overrides.dump());
  return plan;
}

}  // namespace

TrainModel build_train_model(const TrainOptions& options, std::int64_t classes) {
  LoadedModel loaded;
  if (!options.init.empty()) loaded = load_init(options);
  Plan plan = make_plan(options, loaded);
  Json last{{"num_classes", classes}};
  const bool drops =
      config_keys(find_family(plan.family).default_config(find_family(plan.family))).count("drop_path");
  if (options.drop_path >= 0.0 && drops) last["drop_path"] = options.drop_path;
  plan.config = merge_config(plan.config, last.dump());

  TrainModel out;
  if (options.drop_path > 0.0 && !drops)
    out.notes.push_back(fmt::format("a {} has no drop path: {} is left out", plan.family, options.drop_path));
  out.name = plan.name;
  out.form = plan.form;
  if (!loaded.model) {
    RandomSource source(options.seed);
    out.model = make_model(plan.family, plan.config, Weights(source, WeightMode::train));
    return out;
  }
  require(loaded.model->family().name == plan.family, "train",
          "{} holds a model of the family {}, {} is of {}", options.init, loaded.model->family().name,
          plan.name, plan.family);
  InitSource source(*loaded.model, classes, options.seed);
  out.model = make_model(plan.family, plan.config, Weights(source, WeightMode::train));
  out.notes.insert(out.notes.end(), loaded.notes.begin(), loaded.notes.end());
  const std::size_t total = out.model->parameters().size();
  out.notes.push_back(
      fmt::format("{} of {} tensors start from {}", total - source.fresh.size(), total, options.init));
  if (source.fresh.empty()) return out;
  const std::int64_t had = loaded.model->num_classes();
  const std::string head =
      had > 0 ? fmt::format("the head starts at random, {} classes instead of {}", classes, had)
              : fmt::format("the file has no head; a new one with {} classes starts at random", classes);
  out.notes.push_back(fmt::format("{}: {}", head, fmt::join(source.fresh, ", ")));
  return out;
}

}  // namespace locant
