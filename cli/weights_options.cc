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

std::string loaded_json(const LoadedModel& loaded) {
  std::vector<std::string> assumed;
  for (const std::string& what : loaded.assumed) assumed.push_back(json_string(what));
  return fmt::format(
      R"("model":{},"family":{},"naming":{},"key":{},"preprocessing":{},"precision":"float32","assumed":[{}])",
      json_string(loaded.name), json_string(loaded.model->family().name), json_string(loaded.naming),
      json_string(loaded.key), loaded.preprocess.to_json(), fmt::join(assumed, ","));
}

}  // namespace locant::cli
