#include "io/model_folder.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/foreign_files.h"
#include "io/hub_cache.h"
#include "io/json_text.h"

namespace locant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOp = "weights";
constexpr const char* kConfig = "config.json";
constexpr const char* kPreprocessor = "preprocessor_config.json";
constexpr const char* kProcessor = "processor_config.json";
constexpr const char* kAdapterConfig = "adapter_config.json";
constexpr std::size_t kMaxFilesListed = 20;

/// Whole models by name, the first that is there; behind them the half-precision variants.
constexpr std::array kWeightFileNames = {"model.safetensors",           "model.safetensors.index.json",
                                         "pytorch_model.bin",           "pytorch_model.bin.index.json",
                                         "pytorch_model.pth",           "model.pth",
                                         "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
                                         "model.fp16.safetensors",      "model.safetensors.index.fp16.json"};
constexpr std::size_t kFirstHalf = 8;

constexpr std::array kTensorSuffixes = {".safetensors", ".pth", ".pth.tar", ".bin", ".pt", ".ckpt", ".npz"};
/// What training leaves beside a model.
constexpr std::array kNoModels = {"training_args.bin", "optimizer", "scheduler",
                                  "scaler.pt",         "rng_state", "adapter_model."};

std::string listed(std::vector<std::string> names) {
  const std::size_t more = names.size() > kMaxFilesListed ? names.size() - kMaxFilesListed : 0;
  names.resize(names.size() - more);
  const std::string text = fmt::format("{}", fmt::join(names, ", "));
  return more == 0 ? text : fmt::format("{} and {} more", text, more);
}

/// The suffix of a tensor file, nothing for other names.
std::string_view tensor_suffix(std::string_view name) {
  for (const std::string_view suffix : kTensorSuffixes)
    if (name.size() > suffix.size() && name.ends_with(suffix)) return suffix;
  return {};
}

/// Finds what a folder holds.
class Finder {
 public:
  explicit Finder(fs::path folder) : folder_(std::move(folder)) {
    std::error_code error;
    for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
      std::error_code none;
      if (!it->is_directory(none)) names_.push_back(it->path().filename().string());
    }
    if (error)
      fail(ErrorKind::system, kOp, "{}: the folder cannot be read: {}", folder_.string(), error.message());
    std::sort(names_.begin(), names_.end());
  }

  std::string weights(std::vector<std::string>& notes) const {
    refuse_adapter();
    for (std::size_t i = 0; i < kWeightFileNames.size(); ++i) {
      if (!has(kWeightFileNames[i])) continue;
      if (i >= kFirstHalf)
        notes.push_back(
            fmt::format("{} is used: there is no file of the whole precision", kWeightFileNames[i]));
      else if (i < 2 && (has(kWeightFileNames[2]) || has(kWeightFileNames[3])))
        notes.push_back(fmt::format("{} is used, {} left", kWeightFileNames[i],
                                    has(kWeightFileNames[2]) ? kWeightFileNames[2] : kWeightFileNames[3]));
      return at(kWeightFileNames[i]);
    }
    return only_one(notes);
  }

  bool has(const std::string& name) const { return std::binary_search(names_.begin(), names_.end(), name); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }

 private:
  void refuse_adapter() const {
    const bool weights = has("adapter_model.safetensors") || has("adapter_model.bin");
    if (!has(kAdapterConfig) && !weights) return;
    const std::string text = has(kAdapterConfig) ? read_text_file(at(kAdapterConfig), kMaxConfigBytes) : "";
    std::string instead;
    for (const char* name : kWeightFileNames)
      if (instead.empty() && has(name)) instead = fmt::format("; to go without it, name {} itself", at(name));
    fail(ErrorKind::file, kOp, "{}{}", adapter_sentence(text, folder_.string()), instead);
  }

  std::string only_one(std::vector<std::string>& notes) const {
    std::vector<std::string> found;
    for (const std::string& name : names_) {
      const bool other = std::any_of(kNoModels.begin(), kNoModels.end(),
                                     [&](const char* start) { return name.starts_with(start); });
      if (!other && !tensor_suffix(name).empty()) found.push_back(name);
    }
    if (found.empty()) refuse_empty();
    const auto first = std::find_if(found.begin(), found.end(),
                                    [](const std::string& name) { return name.ends_with(".safetensors"); });
    if (found.size() == 1) return at(found[0]);
    // The same name in two forms is one model.
    const auto stem = [](const std::string& name) {
      return name.substr(0, name.size() - tensor_suffix(name).size());
    };
    const bool one_model =
        first != found.end() &&
        std::all_of(found.begin(), found.end(), [&](const auto& name) { return stem(name) == stem(*first); });
    if (!one_model)
      fail(ErrorKind::file, kOp, "{}: holds several tensor files ({}); name one of them", folder_.string(),
           listed(found));
    const std::string chosen = *first;
    found.erase(first);
    notes.push_back(fmt::format("{} is used, {} left", chosen, listed(found)));
    return at(chosen);
  }

  [[noreturn]] void refuse_empty() const {
    for (const std::string& name : names_) {
      const std::string_view hint = foreign_by_name(name);
      if (!hint.empty())
        fail(ErrorKind::file, kOp, "{}: holds no weights that are read, but {}{}", folder_.string(), name,
             hint);
    }
    fail(ErrorKind::file, kOp,
         "{}: holds no weights (model.safetensors, pytorch_model.bin, their indexes, or one {} file){}",
         folder_.string(), fmt::join(kTensorSuffixes, ", "), interrupted_download(folder_.string()));
  }

  fs::path folder_;
  std::vector<std::string> names_;  ///< sorted; links without a target are among them
};

/// Reads the descriptions that lie in `folder`; `has` tells which there are.
template <class Has>
void read_descriptions(const fs::path& folder, const Has& has, ModelFolder& out) {
  if (has(kConfig)) {
    out.config_path = (folder / kConfig).string();
    out.config = read_text_file(out.config_path, kMaxConfigBytes);
    for (std::string& note : check_config(out.config, out.config_path)) out.notes.push_back(std::move(note));
  }
  if (has(kPreprocessor)) {
    out.preprocessor_path = (folder / kPreprocessor).string();
    out.preprocessor = read_text_file(out.preprocessor_path, kMaxConfigBytes);
    parse_json_object(out.preprocessor, out.preprocessor_path);
  } else if (has(kProcessor)) {
    const std::string path = (folder / kProcessor).string();
    out.preprocessor = image_processor_of(read_text_file(path, kMaxConfigBytes), path);
    if (!out.preprocessor.empty()) out.preprocessor_path = path;
  }
}

ModelFolder from_folder(const std::string& path, bool with_config) {
  ModelFolder out;
  const Finder finder(path);
  out.weights = finder.weights(out.notes);
  require_no_dangling_link(out.weights);
  if (with_config)
    read_descriptions(
        path, [&](const char* name) { return finder.has(name); }, out);
  return out;
}

ModelFolder from_file(const std::string& path, bool with_config) {
  ModelFolder out;
  out.weights = path;
  const fs::path file(path);
  require(!file.filename().string().starts_with("adapter_model."), ErrorKind::file, kOp, "{}",
          adapter_sentence("", path));
  require_no_dangling_link(path);
  if (!with_config) return out;
  const fs::path folder = file.parent_path();
  const auto has = [&](const char* name) {
    std::error_code error;
    const fs::file_status status = fs::symlink_status(folder / name, error);
    return fs::is_regular_file(status) || fs::is_symlink(status);
  };
  read_descriptions(folder, has, out);
  std::vector<std::string> used;
  for (const std::string& from : {out.config_path, out.preprocessor_path})
    if (!from.empty()) used.push_back(fs::path(from).filename().string());
  if (!used.empty())
    out.notes.push_back(fmt::format("{} beside it {} used (--no-folder-config leaves {} out)",
                                    fmt::join(used, " and "), used.size() == 1 ? "is" : "are",
                                    used.size() == 1 ? "it" : "them"));
  if (has(kAdapterConfig))
    out.notes.push_back(
        fmt::format("{} beside it is not applied: the model is used without the adapter", kAdapterConfig));
  return out;
}

}  // namespace

ModelFolder find_model_folder(const std::string& path, bool with_config) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return from_file(path, with_config);
  return from_folder(is_hub_cache(path) ? hub_snapshot(path) : path, with_config);
}

std::vector<std::string> check_config(std::string_view text, const std::string& path) {
  const nlohmann::json config = parse_json_object(text, path);
  const auto quantised = config.find("quantization_config");
  if (quantised != config.end() && !quantised->is_null()) {
    const auto method = quantised->is_object() ? quantised->find("quant_method") : quantised->end();
    const bool told = quantised->is_object() && method != quantised->end() && method->is_string();
    fail(ErrorKind::file, kOp,
         "{}: the weights are quantised ({}); take or save the model in float32, float16 or bfloat16", path,
         told ? method->get<std::string>().substr(0, 100) : "quantization_config without quant_method");
  }
  std::vector<std::string> notes;
  if (config.contains("auto_map"))
    notes.push_back(fmt::format("{}: auto_map names code of the model's own, which is not run", path));
  return notes;
}

std::string image_processor_of(std::string_view text, const std::string& path) {
  const nlohmann::json processor = parse_json_object(text, path);
  const auto found = processor.find("image_processor");
  return found != processor.end() && found->is_object() ? found->dump() : "";
}

std::string adapter_sentence(std::string_view text, const std::string& path) {
  std::string base = "another model";
  if (!text.empty()) {
    const nlohmann::json config = parse_json_object(text, path + "/" + kAdapterConfig);
    const auto found = config.find("base_model_name_or_path");
    if (found != config.end() && found->is_string())
      base = found->get<std::string>().substr(0, 200) + " (base_model_name_or_path)";
  }
  return fmt::format("{}: holds an adapter (LoRA) for {}; merge it into that model and save the whole", path,
                     base);
}

}  // namespace locant
