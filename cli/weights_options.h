#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"
#include "models/load.h"
#include "models/sam.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace locant::cli {

/// Which model of which file.
struct WeightsOptions {
  std::string weights, model, key;
  std::vector<std::string> ignore;
  bool no_folder_config = false;
};
/// --weights FILE, --model, --key, --ignore, --no-folder-config. `help` is of --weights, which is returned.
CLI::Option* add_weights_options(CLI::App* sub, WeightsOptions& options, const char* help);

/// What load_model takes.
LoadOptions load_options(const WeightsOptions& options, WeightMode mode = WeightMode::inference);
/// Loads it; notes go to stderr unless quiet, what is assumed always.
LoadedModel load_weights(const WeightsOptions& options, const GlobalOptions& globals);
/// "assumed: heads 6; ..." on stderr, quiet or not; nothing where nothing is.
void say_assumed(const std::vector<std::string>& assumed);

/// How a model was read, as the fields of a JSON object without its braces: model, family, naming, key,
/// preprocessing, precision (unless it is said elsewhere), assumed.
std::string loaded_json(const LoadedModel& loaded, bool precision = true);
std::string loaded_json(const LoadedSam& loaded);

}  // namespace locant::cli
