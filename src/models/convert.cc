#include "models/convert.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <span>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/model_folder.h"
#include "models/checkpoint.h"
#include "models/family.h"
#include "models/hub_fields.h"
#include "models/hub_write.h"
#include "models/registry.h"

namespace locant {
namespace {

namespace fs = std::filesystem;
using Tensors = std::vector<std::pair<std::string, Tensor>>;

bool is_folder_naming(const std::string& to) { return to == "transformers" || to == "timm"; }

/// A folder beside the output, which goes when the conversion fails.
class Staging {
 public:
  explicit Staging(const fs::path& output) : path_(output) {
    path_ += fmt::format(".partial-{}", ::getpid());
    require(!fs::exists(path_), "convert", "{} is in the way: remove it", path_.string());
    fs::create_directories(path_);
  }
  ~Staging() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void require_free(const std::string& input, const fs::path& output, const ConvertOptions& options) {
  const fs::path source = fs::weakly_canonical(find_model_folder(input, false).weights);
  const fs::path target = fs::weakly_canonical(output);
  require(source != target && source.parent_path() != target, "convert",
          "{} is the input, or its folder: write to another place", output.string());
  if (!fs::exists(output)) return;
  if (!is_folder_naming(options.to)) {
    require(!fs::is_directory(output), "convert", "{} is a folder; --to {} writes one file", output.string(),
            options.to);
    require(options.force, "convert", "{} is there already; --force replaces it", output.string());
    return;
  }
  require(fs::is_directory(output), "convert", "{} is a file; --to {} writes a folder", output.string(),
          options.to);
  require(options.force || fs::is_empty(output), "convert",
          "{} is not empty; --force replaces the files that are written", output.string());
}

Tensor rows_of(const Tensor& whole, std::int64_t first, std::int64_t count) {
  if (count == 0 || count == whole.dim(0)) return whole;
  std::vector<std::int64_t> sides = {count};
  for (int axis = 1; axis < whole.shape().rank(); ++axis) sides.push_back(whole.dim(axis));
  const std::int64_t row = whole.numel() / whole.dim(0);
  Tensor out{Shape(sides)};
  std::copy_n(whole.data() + first * row, count * row, out.data());
  return out;
}

/// The model's tensors under the library's names.
Tensors translate(const Model& model, const HubFolder& folder) {
  Tensors out;
  for (const Parameter& parameter : model.parameters()) {
    if (matches_any(folder.lost, parameter.name)) continue;
    for (const SourcePiece& piece : folder.renames->to_library(parameter.name, parameter.shape)) {
      const bool outside = matches_any(folder.heads, piece.name);
      out.emplace_back((outside ? "" : folder.prefix) + piece.name,
                       rows_of(parameter.value.value(), piece.row, piece.rows));
    }
  }
  out.insert(out.end(), folder.beside.begin(), folder.beside.end());
  return out;
}

/// Zero, of each batch norm.
Counts counts_beside(const Tensors& tensors) {
  constexpr std::string_view kVariance = ".running_var";
  Counts out;
  for (const auto& entry : tensors)
    if (entry.first.ends_with(kVariance))
      out.emplace_back(entry.first.substr(0, entry.first.size() - kVariance.size()) + ".num_batches_tracked",
                       0);
  return out;
}

/// Throws Error unless every parameter of `written` is in `model` with the same bits, and all but `lost` are
/// written.
void require_same_numbers(const Model& model, const Model& written, const HubFolder& folder) {
  std::map<std::string, const Parameter*> originals;
  for (const Parameter& parameter : model.parameters()) originals[parameter.name] = &parameter;
  std::size_t same = 0;
  for (const Parameter& parameter : written.parameters()) {
    const auto it = originals.find(parameter.name);
    if (it == originals.end() && !folder.beside.empty() && parameter.name == "mask_token") continue;
    const bool equal = it != originals.end() && it->second->shape == parameter.shape &&
                       std::memcmp(it->second->value.value().data(), parameter.value.value().data(),
                                   static_cast<std::size_t>(parameter.shape.numel()) * sizeof(float)) == 0;
    require(equal, "convert", "read back, {} is not the tensor that was written", parameter.name);
    ++same;
  }
  for (const auto& [name, parameter] : originals) same += matches_any(folder.lost, name) ? 1 : 0;
  require(same == originals.size(), "convert", "read back, {} of {} tensors are there", same,
          originals.size());
}

/// Windows of no pre-training are none, or zero for each stage.
HubJson config_of(const Model& model) {
  HubJson out = HubJson::parse(model.config());
  const auto sizes = out.find("pretrained_window_sizes");
  if (sizes != out.end() &&
      std::all_of(sizes->begin(), sizes->end(), [](const HubJson& x) { return x == 0; }))
    *sizes = HubJson::array();
  return out;
}

/// Reads a folder that was written as anyone would.
void check_folder(const fs::path& path, const LoadedModel& source, const HubFolder& folder) {
  const LoadedModel written = load_model(path.string(), {.mode = WeightMode::train});
  require_same_numbers(*source.model, *written.model, folder);
  std::vector<std::string> passed = fields_beside_the_answer();
  passed.emplace_back("mask_token");
  passed.insert(passed.end(), folder.untold.begin(), folder.untold.end());
  if (source.model->num_classes() == 0) passed.insert(passed.end(), {"pool", "head_input"});
  const HubJson wanted = config_of(*source.model), got = config_of(*written.model);
  for (const std::string& key : differing_fields(wanted, got, passed))
    fail("convert", "{}: read back, {} is {} and not {}", folder.architecture, key, got[key].dump(),
         wanted[key].dump());
  require(source.classes.empty() || source.model->num_classes() == 0 || written.classes == source.classes,
          "convert", "{}: read back, the names of the classes are others", folder.architecture);
}

/// A file has names alone: it is read back for the configuration that the model has.
void check_file(const fs::path& path, const Model& model, const HubFolder& folder) {
  const std::unique_ptr<TensorFile> file = open_tensor_file(path.string());
  CheckpointSource source(*file, *folder.renames);
  const std::unique_ptr<Model> written =
      make_model(model.family().name, model.config(), Weights(source, WeightMode::train));
  require_same_numbers(model, *written, folder);
}

/// Values that the library's own models have otherwise, and no tensor says.
void note_untold(const Model& model, const HubFolder& folder, const std::string& to, Converted& out) {
  const HubJson config = HubJson::parse(model.config());
  const HubJson theirs = HubJson::parse(folder.renames->configure(model.config()));
  for (const std::string& key : differing_fields(config, theirs, fields_beside_the_answer()))
    fail("convert", "{} names are of models with {} {}; this one has {}, which no tensor says", to, key,
         theirs[key].dump(), config[key].dump());
  for (const char* key : {"pos_resize", "window_fit", "pad_order", "patch_remainder"})
    if (config.contains(key) && config[key] != theirs[key])
      out.notes.push_back(
          fmt::format("{} of {} names is {}, and {} here: pictures of other sizes than "
                      "img_size may be answered otherwise",
                      key, to, theirs[key].dump(), config[key].dump()));
  out.notes.push_back(
      "the file holds tensors alone: configuration, names of classes and preprocessing are not in it");
}

void write_folder(const fs::path& output, const HubFolder& folder, const ConvertOptions& options,
                  Converted& out) {
  const Staging staging(output);
  std::map<std::string, std::string> texts = {{"config.json", folder.config}};
  if (!folder.preprocessor.empty()) texts["preprocessor_config.json"] = folder.preprocessor;
  for (const auto& [name, text] : texts)
    write_file_atomically((staging.path() / name).string(), std::as_bytes(std::span(text)));
  std::map<std::string, std::string> metadata;
  if (options.to == "transformers") metadata["format"] = "pt";
  const Tensors tensors = translate(*out.source.model, folder);
  write_safetensors((staging.path() / "model.safetensors").string(), tensors, metadata,
                    folder.counts_batches ? counts_beside(tensors) : Counts{});
  check_folder(staging.path(), out.source, folder);
  if (!fs::exists(output) || fs::is_empty(output)) {
    fs::rename(staging.path(), output);  // all at once; an empty folder gives way
  } else {
    for (const auto& entry : fs::directory_iterator(staging.path()))
      fs::rename(entry.path(), output / entry.path().filename());
  }
  out.files.push_back((output / "model.safetensors").string());
  for (const auto& [name, text] : texts) out.files.push_back((output / name).string());
}

void write_file(const fs::path& output, const HubFolder& folder, const ConvertOptions& options,
                Converted& out) {
  const Staging staging(output);
  const fs::path file = staging.path() / output.filename();
  if (options.to == "locant") {
    save_model(file.string(), *out.source.model,
               {out.source.name, out.source.preprocess, out.source.classes, {}});
    const LoadedModel written = load_model(file.string(), {.mode = WeightMode::train});
    require_same_numbers(*out.source.model, *written.model, folder);
  } else {
    note_untold(*out.source.model, folder, options.to, out);
    write_safetensors(file.string(), translate(*out.source.model, folder), {});
    check_file(file, *out.source.model, folder);
  }
  fs::rename(file, output);
  out.files.push_back(output.string());
}

}  // namespace

Converted convert_model(const std::string& input, const std::string& output, const ConvertOptions& options) {
  fs::path target = fs::path(output).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "DIR/"
  require(!target.empty(), "convert", "no output");
  require(is_folder_naming(options.to) || target.extension() == ".safetensors", "convert",
          "{}: --to {} writes one file, whose name ends in .safetensors", output, options.to);
  require_free(input, target, options);
  LoadOptions load = options.load;
  load.mode = WeightMode::train;
  Converted out;
  out.source = load_model(input, load);
  if (!options.classes.empty()) {
    const auto names = static_cast<std::int64_t>(options.classes.size()),
               rows = out.source.model->num_classes();
    require(names == rows, "convert", "{} names of classes were given, the model has {} classes", names,
            rows);
    out.source.classes = options.classes;
  }
  HubFolder folder;
  if (options.to == "transformers")
    folder = transformers_folder(out.source);
  else if (options.to == "timm")
    folder = timm_folder(out.source);
  else if (options.to != "locant")
    folder.renames = &find_renames(out.source.model->family().name, options.to, out.source.model->config());
  out.architecture = folder.architecture;
  out.notes = folder.notes;
  try {
    if (!target.parent_path().empty()) fs::create_directories(target.parent_path());
    if (is_folder_naming(options.to))
      write_folder(target, folder, options, out);
    else
      write_file(target, folder, options, out);
  } catch (const fs::filesystem_error& error) {
    fail("convert", "{}: {}", output, error.code().message());
  }
  return out;
}

}  // namespace locant
