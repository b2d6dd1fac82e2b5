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
  std::string weights, model, key, config, preprocess;
  std::vector<std::string> ignore;
  bool no_folder_config = false;
};
/// --weights FILE, --model, --key, --ignore, --config, --preprocess, --no-folder-config. `help` is of
/// --weights, which is returned.
CLI::Option* add_weights_options(CLI::App* sub, WeightsOptions& options, const char* help);
/// --key and --ignore.
void add_key_options(CLI::App* sub, std::string& key, std::vector<std::string>& ignore);

/// The JSON object that an option gives: itself where it begins with "{", else in the file of that name.
/// Throws Error, that names the flag, unless it is one; empty for an option that was not given.
std::string json_of_option(const std::string& flag, const std::string& given);
/// Throws Error that says how to get the file where `weights` is none but a name of the hub's or a registered
/// model's, and for one of several shards.
void require_weights(const std::string& weights);

/// What load_model takes. Throws Error as json_of_option and require_weights do.
LoadOptions load_options(const WeightsOptions& options, WeightMode mode = WeightMode::inference);
/// Loads it; notes go to stderr unless quiet, what is assumed always.
LoadedModel load_weights(const WeightsOptions& options, const GlobalOptions& globals);
/// "assumed: heads 6; ..." on stderr, quiet or not; nothing where nothing is.
void say_assumed(const std::vector<std::string>& assumed);

/// How its pictures are prepared, a JSON object: Preprocess::to_json; of Segment Anything longest_edge, mean,
/// std.
std::string preprocessing_json(const LoadedModel& loaded);

/// How a model was read, as the fields of a JSON object without its braces: model, family, naming, key,
/// preprocessing, precision (unless it is said elsewhere), assumed.
std::string loaded_json(const LoadedModel& loaded, bool precision = true);
std::string loaded_json(const LoadedSam& loaded);

}  // namespace locant::cli
