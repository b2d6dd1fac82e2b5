// locant inspect: what is in a checkpoint, and what loading makes of it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/cli.h"
#include "cli/weights_options.h"
#include "core/error.h"
#include "io/model_folder.h"
#include "io/tensor_file.h"
#include "models/family.h"
#include "models/load.h"
#include "models/registry.h"
#include "models/sam.h"

namespace locant::cli {
namespace inspect_command {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  WeightsOptions weights;
  bool json = false;
};

constexpr std::size_t kShownMetadata = 100;  // bytes of a metadata value that people are shown
constexpr std::size_t kShownGuesses = 3;

struct Totals {
  std::int64_t numbers = 0;
  std::uint64_t bytes = 0;
};

Totals totals_of(const TensorFile& file) {
  Totals totals;
  for (const TensorInfo& tensor : file.tensors()) {
    totals.numbers += tensor.shape.numel();
    totals.bytes += tensor.bytes;
  }
  return totals;
}

/// What loading would do: one of the two.
struct Outlook {
  std::optional<LoadedModel> loaded;  ///< of shapes alone
  std::string refused;
};

Outlook outlook_of(const WeightsOptions& options) {
  Outlook out;
  try {
    out.loaded = load_model(options.weights, load_options(options, WeightMode::shapes));
  } catch (const Error& error) {
    out.refused = error.what();
  }
  return out;
}

/// The same for `segment` and `embed`, of the files that they take.
struct SamOutlook {
  std::optional<LoadedSam> loaded;
  std::string refused;
};

SamOutlook sam_outlook_of(const WeightsOptions& options, const Outlook& outlook) {
  SamOutlook out;
  if (outlook.loaded && &outlook.loaded->model->family() != &kSam) return out;
  LoadSamOptions load{.model = options.model, .mode = WeightMode::shapes, .ignore = options.ignore};
  if (!options.key.empty()) load.key = options.key;
  try {
    out.loaded = load_sam(options.weights, load);
  } catch (const Error& error) {
    if (outlook.loaded) out.refused = error.what();
  }
  return out;
}

/// Who names the classes; empty where nobody does.
std::string namer_of_classes(const LoadedModel& loaded, const TensorFile& file, const std::string& path) {
  if (loaded.classes.empty()) return "";
  if (file.metadata().contains("locant.classes")) return "metadata";
  if (loaded.classes == imagenet_classes()) return "ImageNet";
  return find_model_folder(path).config.find("\"id2label\"") != std::string::npos ? "id2label"
                                                                                  : "label_names";
}

std::vector<ModelGuess> guesses_of(const TensorFile& file) {
  try {
    return guess_model(file);
  } catch (const Error&) {  // its own description is damaged, which `refused` says
    return {};
  }
}

std::string guess_line(const ModelGuess& guess) {
  const std::string under = guess.key.empty() ? "" : ", under " + printable(guess.key);
  if (guess.missing == 0 && guess.unexpected == 0)
    return fmt::format("{} ({} names{}): all {} tensors fit", guess.name, guess.naming, under, guess.matched);
  return fmt::format("{} ({} names{}): {} tensors fit, {} missing, {} unexpected", guess.name, guess.naming,
                     under, guess.matched, guess.missing, guess.unexpected);
}

void print_json(const TensorFile& file, const std::string& path, const Outlook& outlook,
                const SamOutlook& sam) {
  Json tensors = Json::array();
  for (const TensorInfo& tensor : file.tensors())
    tensors.push_back(
        {{"name", tensor.name},
         {"dtype", dtype_name(tensor)},
         {"shape", std::vector<std::int64_t>(tensor.shape.extents().begin(), tensor.shape.extents().end())},
         {"bytes", tensor.bytes}});
  Json guesses = Json::array();
  for (const ModelGuess& guess : guesses_of(file))
    guesses.push_back({{"model", guess.name},
                       {"naming", guess.naming},
                       {"key", guess.key},
                       {"matched", guess.matched},
                       {"missing", guess.missing},
                       {"unexpected", guess.unexpected},
                       {"assumed", guess.assumed}});
  const Totals totals = totals_of(file);
  Json all = {{"file", file.path()}, {"format", file.format()}};
  for (const char* key : {"model", "family", "naming", "key", "config", "preprocessing", "classes"})
    all[key] = nullptr;
  all["assumed"] = Json::array();
  all["notes"] = file.notes();
  if (outlook.loaded) {
    const LoadedModel& loaded = *outlook.loaded;
    const std::string namer = namer_of_classes(loaded, file, path);
    all["model"] = loaded.name;
    all["family"] = loaded.model->family().name;
    all["naming"] = loaded.naming;
    all["key"] = loaded.key;
    all["config"] = Json::parse(loaded.model->config());
    all["preprocessing"] = Json::parse(preprocessing_json(loaded));
    all["classes"] = {{"count", loaded.model->num_classes()},
                      {"named_by", namer.empty() ? Json() : Json(namer)},
                      {"names", loaded.classes}};
    all["assumed"] = loaded.assumed;
    all["notes"] = loaded.notes;
  }
  all["refused"] = outlook.loaded ? Json() : Json(outlook.refused);
  all["segment"] = sam.loaded ? Json::parse("{" + loaded_json(*sam.loaded) + "}") : Json();
  if (!sam.refused.empty()) all["segment"] = {{"refused", sam.refused}};
  all["numbers"] = totals.numbers;
  all["bytes"] = totals.bytes;
  all["metadata"] = file.metadata();
  all["guesses"] = std::move(guesses);
  all["tensors"] = std::move(tensors);
  write_out(printable_json(all.dump(-1, ' ', false, Json::error_handler_t::replace)) + "\n");
}

void print_loaded(const LoadedModel& loaded, const TensorFile& file, const std::string& path) {
  const std::string family = loaded.model->family().name, namer = namer_of_classes(loaded, file, path);
  out("model: {}{} ({} names{})\n", printable(loaded.name),
      family == loaded.name ? "" : ", of the family " + family, loaded.naming,
      loaded.key.empty() ? "" : ", under " + printable(loaded.key));
  const Preprocess& pictures = loaded.preprocess;
  const bool sees = loaded.model->sees();
  const auto* sam = dynamic_cast<const Sam*>(loaded.model.get());
  if (sam != nullptr)
    out("pictures: {} pixels at the long side, padded to a square\n", sam->image_size());
  else if (sees)
    out("pictures: {} x {} pixels, {} channel{}\n", pictures.columns, pictures.rows, pictures.channels,
        pictures.channels == 1 ? "" : "s");
  const std::int64_t classes = loaded.model->num_classes();
  out("classes: {}\n", classes == 0    ? "none, no head"
                       : namer.empty() ? fmt::format("{}, without names", classes)
                                       : fmt::format("{}, named by {}", classes, namer));
  out("configuration: {}\n", printable(loaded.model->config()));
  if (sees) out("preprocessing: {}\n", printable(preprocessing_json(loaded)));
  for (const std::string& line : loaded.assumed) out("assumed: {}\n", printable(line));
}

void print_sam(const SamOutlook& sam) {
  if (sam.loaded)
    out("segment and embed: {} ({} names{}), squares of {} pixels\n", sam.loaded->name, sam.loaded->naming,
        sam.loaded->key.empty() ? "" : ", under " + printable(sam.loaded->key),
        sam.loaded->sam->image_size());
  if (!sam.refused.empty()) out("segment and embed would not load it: {}\n", printable(sam.refused));
}

void print_guesses(const TensorFile& file) {
  std::vector<std::string> lines;  // without repetitions: namings of one library may differ in a prefix alone
  bool perfect = false;            // where one fits altogether, others that do not say nothing
  for (const ModelGuess& guess : guesses_of(file)) {
    const bool fits = guess.missing == 0 && guess.unexpected == 0;
    if (perfect && !fits) break;
    perfect = fits;
    const std::string line = guess_line(guess);
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
  }
  if (lines.empty()) out("model: none that Locant knows\n");
  for (std::size_t i = 0; i < std::min(lines.size(), kShownGuesses); ++i)
    out("{} {}\n", i == 0 ? "nearest:" : "     or:", lines[i]);
}

void print_text(const TensorFile& file, const std::string& path, const Outlook& outlook,
                const SamOutlook& sam) {
  const Totals totals = totals_of(file);
  out("{}: {}, {} tensors, {} numbers, {}\n", printable(file.path()), file.format(), file.tensors().size(),
      with_commas(totals.numbers), human_bytes(static_cast<double>(totals.bytes)));
  if (outlook.loaded) {
    print_loaded(*outlook.loaded, file, path);
  } else {
    out("would not load: {}\n", printable(outlook.refused));
  }
  print_sam(sam);
  if (!outlook.loaded) print_guesses(file);
  for (const auto& [key, value] : file.metadata()) {
    const std::string shown =
        value.size() <= kShownMetadata ? value : value.substr(0, kShownMetadata) + "...";
    out("metadata {}: {}\n", printable(key), printable(shown));
  }
  for (const std::string& line : outlook.loaded ? outlook.loaded->notes : file.notes())
    out("note: {}\n", printable(line));

  std::size_t name_width = 0, shape_width = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    name_width = std::max(name_width, printable(tensor.name).size());
    shape_width = std::max(shape_width, tensor.shape.str().size());
  }
  for (const TensorInfo& tensor : file.tensors())
    out("{:<{}}  {:<4}  {:<{}}  {:>7}\n", printable(tensor.name), name_width, dtype_name(tensor),
        tensor.shape.str(), shape_width, human_bytes(static_cast<double>(tensor.bytes)));
}

int run(const Options& options) {
  // A wrong option is an error; what the file and its folder say is told.
  json_of_option("--config", options.weights.config);
  json_of_option("--preprocess", options.weights.preprocess);
  std::error_code error;
  if (!std::filesystem::exists(options.weights.weights, error)) require_weights(options.weights.weights);
  const std::unique_ptr<TensorFile> file =
      open_tensor_file(find_model_folder(options.weights.weights, false).weights);
  const Outlook outlook = outlook_of(options.weights);
  const SamOutlook sam = sam_outlook_of(options.weights, outlook);
  if (options.json)
    print_json(*file, options.weights.weights, outlook, sam);
  else
    print_text(*file, options.weights.weights, outlook, sam);
  return kOk;
}

}  // namespace
}  // namespace inspect_command

void add_inspect(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<inspect_command::Options>();
  CLI::App* sub = add_command(app, globals, "inspect",
                              "Tells what loading a checkpoint makes of it, or why it would not load, and "
                              "lists its tensors; exit code "
                              "0 for every file that can be read",
                              "locant inspect examples/digits/digits.safetensors\n"
                              "locant inspect swin_tiny_patch4_window7_224.pth --json\n"
                              "locant inspect vit.pth --config '{\"heads\": 3}'\n",
                              [options] { return run(*options); });
  // What is read is the command's object here, and no option among others.
  sub->remove_option(add_weights_options(sub, options->weights, ""));
  sub->add_option("FILE", options->weights.weights,
                  "safetensors, .pth, .npz, an index of shards, or a folder of the hub")
      ->required();
  sub->add_flag("--json", options->json, "One JSON object");
}

}  // namespace locant::cli
