#include "train/recipe.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace locant {

using Json = nlohmann::ordered_json;

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> all = {
      {"probe", R"({"probe":true,"probe_c":1.0,"batch":32,"class_weights":"none"})"},
      {"finetune", R"({"epochs":10,"batch":32,"grad_accum_steps":1,"opt":"adamw","lr":2e-4,"min_lr":1e-6,
                       "warmup_epochs":1,"layer_decay":0.75,"freeze":0,"weight_decay":0.05,"clip":1.0,
                       "label_smoothing":0.1,"class_weights":"none","drop_path":0.1,"ema":0.999,
                       "scale":[0.35,1.0],"hflip":0.5,"color_jitter":0.2,"aa":"","reprob":0.0,"mixup":0.0,"cutmix":0.0})"},
      {"scratch", R"({"epochs":100,"batch":64,"grad_accum_steps":1,"opt":"adamw","lr":1e-3,"min_lr":1e-5,
                      "warmup_epochs":5,"layer_decay":1.0,"freeze":0,"weight_decay":0.05,"clip":5.0,
                      "label_smoothing":0.1,"class_weights":"none","drop_path":0.1,"ema":0.999,
                      "scale":[0.08,1.0],"hflip":0.5,"color_jitter":0.0,"aa":"rand-m9-mstd0.5-inc1","reprob":0.25,"mixup":0.8,"cutmix":1.0})"}};
  return all;
}

std::vector<std::string> apply_recipe(const std::string& name, TrainOptions& options,
                                      const std::function<bool(const std::string&)>& given) {
  const auto found =
      std::find_if(recipes().begin(), recipes().end(), [&](const Recipe& r) { return name == r.name; });
  if (found == recipes().end()) {
    std::vector<std::string> names;
    for (const Recipe& recipe : recipes()) names.emplace_back(recipe.name);
    fail("train", "no recipe is called \"{}\"; there are {}", name, fmt::join(names, ", "));
  }
  Json all = Json::parse(options.to_json());
  std::vector<std::string> lines;
  const Json preset = Json::parse(found->fields);
  for (const auto& [field, value] : preset.items()) {
    const bool kept = given(field);
    if (!kept) all[field] = value;
    const std::string text = all[field].is_string() ? all[field].get<std::string>() : all[field].dump();
    lines.push_back(fmt::format("{} {}{}", field, text, kept ? " (given)" : ""));
  }
  require(name == "scratch" || !options.init.empty(), "train",
          "recipe {} is for a checkpoint's model; --init FILE names it, --recipe scratch begins without",
          name);
  // What nobody gave follows what somebody did.
  if (!given("min_lr")) all["min_lr"] = std::min(all["min_lr"].get<double>(), all["lr"].get<double>());
  if (!given("warmup_epochs"))
    all["warmup_epochs"] = std::min(all["warmup_epochs"].get<double>(), 0.5 * all["epochs"].get<double>());
  const TrainOptions before = options;
  options = TrainOptions::from_json(all.dump());
  options.out = before.out;
  options.force = before.force;
  options.data = before.data;
  return lines;
}

}  // namespace locant
