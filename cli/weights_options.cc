#include "cli/weights_options.h"

#include <CLI/CLI.hpp>

#include "models/family.h"

namespace locant::cli {

CLI::Option* add_weights_options(CLI::App* sub, WeightsOptions& o, const char* help) {
  sub->add_option("--model", o.model, "Model name (locant list); without it the checkpoint tells")
      ->type_name("NAME");
  sub->add_option("--key", o.key,
                  "Which of several models in the file, by what stands before its names: state_dict_ema, "
                  "teacher.backbone")
      ->type_name("PATH");
  sub->add_option("--ignore", o.ignore,
                  "Tensors that are left out although the model has no place for them (* for any characters)")
      ->type_name("PATTERN");
  sub->add_flag("--no-folder-config", o.no_folder_config,
                "Pass over config.json and preprocessor_config.json beside the checkpoint");
  return sub->add_option("--weights", o.weights, help)->type_name("FILE");
}

LoadOptions load_options(const WeightsOptions& o, WeightMode mode) {
  LoadOptions out;
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

std::string loaded_json(const LoadedModel& loaded, bool precision) {
  return fields_json(loaded.name, loaded.model->family().name, loaded.naming, loaded.key,
                     loaded.preprocess.to_json(), precision, loaded.assumed);
}

std::string loaded_json(const LoadedSam& loaded) {
  return fields_json(loaded.name, loaded.sam->family().name, loaded.naming, loaded.key,
                     fmt::format(R"({{"longest_edge":{}}})", loaded.sam->image_size()), true, loaded.assumed);
}

}  // namespace locant::cli
