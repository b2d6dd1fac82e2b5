// locant convert: a checkpoint as another library has it.
#include "cli/convert.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "cli/answers.h"
#include "cli/cli.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "models/convert.h"
#include "models/family.h"
#include "models/renames.h"

namespace locant::cli {
namespace convert_command {
namespace {

struct Options {
  WeightsOptions weights;
  std::string output, to, labels;
  bool force = false, json = false;
};

std::string json_list(const std::vector<std::string>& texts) {
  std::vector<std::string> out;
  for (const std::string& text : texts) out.push_back(json_string(text));
  return fmt::format("[{}]", fmt::join(out, ","));
}

/// Throws Error that lists the targets unless the model's family has such names.
void require_naming(const Options& o) {
  const LoadedModel model = load_model(o.weights.weights, load_options(o.weights, WeightMode::shapes));
  std::vector<std::string> targets = {"locant"};
  for (const Renames& renames : renames_of(model.model->family().name)) {
    if (renames.naming == o.to) return;
    if (std::find(targets.begin(), targets.end(), renames.naming) == targets.end())
      targets.push_back(renames.naming);
  }
  fail("convert", "{} has no tensor names \"{}\"; there are {}", model.name, o.to, fmt::join(targets, ", "));
}

int run(const Options& o, const GlobalOptions& globals) {
  const bool folder = o.to == "transformers" || o.to == "timm";
  require(!folder || !o.output.ends_with(".safetensors"), "convert",
          "{}: --to {} writes a folder, with config.json beside the tensors: -o {} (one file: --to locant)",
          o.output, o.to, o.output.substr(0, o.output.size() - std::string_view(".safetensors").size()));
  if (!folder && o.to != "locant") require_naming(o);
  ConvertOptions options;
  options.to = o.to;
  options.load = load_options(o.weights);
  options.force = o.force;
  if (!o.labels.empty()) options.classes = read_labels(o.labels);
  banner(globals);
  const Converted done = convert_model(o.weights.weights, o.output, options);
  for (const std::string& line : done.source.notes) write_note(globals, line);
  for (const std::string& line : done.notes) write_note(globals, line);
  say_assumed(done.source.assumed);
  if (o.json) {
    out("{{\"input\":{},\"to\":{},\"architecture\":{},\"files\":{},\"notes\":{},{}}}\n",
        json_string(o.weights.weights), json_string(o.to), json_string(done.architecture),
        json_list(done.files), json_list(done.notes), loaded_json(done.source));
    return kOk;
  }
  for (const std::string& file : done.files) out("{}\n", printable(file));
  return kOk;
}

}  // namespace
}  // namespace convert_command

void add_convert(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<convert_command::Options>();
  CLI::App* sub = add_command(
      app, globals, "convert", "Writes a checkpoint as another library has it, and reads it back to check it",
      "locant convert vit.pth -o vit --to transformers\n"
      "locant convert swin_folder -o swin_timm --to timm\n"
      "locant convert deit_folder -o deit.safetensors --to torchvision\n"
      "locant convert training.pth --key state_dict_ema -o own.safetensors --to locant\n",
      [options, &globals] { return run(*options, globals); });
  // What is read is the command's object here, and no option among others.
  sub->remove_option(add_weights_options(sub, options->weights, ""));
  sub->add_option("INPUT", options->weights.weights, "Checkpoint (safetensors, .pth) or folder of the hub")
      ->required();
  sub->add_option("-o,--output", options->output,
                  "Folder for transformers and timm, else a file that ends in .safetensors")
      ->type_name("PATH")
      ->required();
  sub->add_option("--to", options->to,
                  "transformers, timm, locant, or another library's names for this model: torchvision, "
                  "microsoft/Swin-Transformer, ...")
      ->type_name("NAMING")
      ->required();
  add_labels_option(sub, options->labels);
  sub->add_flag("--force", options->force, "Replace files that are there");
  sub->add_flag("--json", options->json, "One JSON object: what was read, written and noted");
}

}  // namespace locant::cli
