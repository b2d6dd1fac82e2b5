// locant inspect: what is in a checkpoint.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/cli.h"
#include "io/model_folder.h"
#include "io/tensor_file.h"
#include "models/load.h"
#include "models/sam.h"

namespace locant::cli {
namespace {

struct Options {
  std::string file;
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

std::string guess_line(const ModelGuess& guess) {
  const std::string under = guess.key.empty() ? "" : ", under " + printable(guess.key);
  if (guess.missing == 0 && guess.unexpected == 0)
    return fmt::format("{} ({} names{}): all {} tensors fit", guess.name, guess.naming, under, guess.matched);
  return fmt::format("{} ({} names{}): {} tensors fit, {} missing, {} unexpected", guess.name, guess.naming,
                     under, guess.matched, guess.missing, guess.unexpected);
}

void print_json(const TensorFile& file) {
  using Json = nlohmann::ordered_json;
  Json tensors = Json::array();
  for (const TensorInfo& tensor : file.tensors())
    tensors.push_back(
        {{"name", tensor.name},
         {"dtype", dtype_name(tensor)},
         {"shape", std::vector<std::int64_t>(tensor.shape.extents().begin(), tensor.shape.extents().end())},
         {"bytes", tensor.bytes}});
  Json guesses = Json::array();
  for (const ModelGuess& guess : guess_model(file))
    guesses.push_back({{"model", guess.name},
                       {"naming", guess.naming},
                       {"key", guess.key},
                       {"matched", guess.matched},
                       {"missing", guess.missing},
                       {"unexpected", guess.unexpected},
                       {"assumed", guess.assumed}});
  const Totals totals = totals_of(file);
  const Json all = {{"file", file.path()},           {"format", file.format()},
                    {"numbers", totals.numbers},     {"bytes", totals.bytes},
                    {"metadata", file.metadata()},   {"notes", file.notes()},
                    {"guesses", std::move(guesses)}, {"tensors", std::move(tensors)}};
  write_out(printable_json(all.dump(-1, ' ', false, Json::error_handler_t::replace)) + "\n");
}

void print_text(const TensorFile& file) {
  const Totals totals = totals_of(file);
  out("{}: {}, {} tensors, {} numbers, {}\n", printable(file.path()), file.format(), file.tensors().size(),
      with_commas(totals.numbers), human_bytes(static_cast<double>(totals.bytes)));
  std::vector<std::string> lines;  // without repetitions: namings of one library may differ in a prefix alone
  bool perfect = false;            // where one fits altogether, others that do not say nothing
  for (const ModelGuess& guess : guess_model(file)) {
    const bool fits = guess.missing == 0 && guess.unexpected == 0;
    if (perfect && !fits) break;
    perfect = fits;
    const std::string line = guess_line(guess);
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
  }
  if (lines.empty()) out("model: none that Locant knows\n");
  for (std::size_t i = 0; i < std::min(lines.size(), kShownGuesses); ++i)
    out("{} {}\n", i == 0 ? "model:" : "   or:", lines[i]);
  for (const auto& [key, value] : file.metadata()) {
    const std::string shown =
        value.size() <= kShownMetadata ? value : value.substr(0, kShownMetadata) + "...";
    out("metadata {}: {}\n", printable(key), printable(shown));
  }
  for (const std::string& line : file.notes()) out("note: {}\n", printable(line));

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
  const std::unique_ptr<TensorFile> file = open_tensor_file(find_model_folder(options.file, false).weights);
  if (options.json)
    print_json(*file);
  else
    print_text(*file);
  return kOk;
}

}  // namespace

void add_inspect(CLI::App& app, GlobalOptions& globals) {
  auto options = std::make_shared<Options>();
  CLI::App* sub =
      add_command(app, globals, "inspect", "Lists the tensors of a checkpoint and tells its model",
                  "locant inspect examples/digits/digits.safetensors\n"
                  "locant inspect swin_tiny_patch4_window7_224.pth --json\n",
                  [options] { return run(*options); });
  sub->add_option("FILE", options->file,
                  "safetensors, .pth, .npz, an index of shards, or a folder of the hub")
      ->required();
  sub->add_flag("--json", options->json, "One JSON object");
}

}  // namespace locant::cli
