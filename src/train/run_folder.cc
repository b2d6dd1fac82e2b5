#include "train/run_folder.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "train/state.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

std::vector<std::string> run_files(const std::string& folder) {
  std::vector<std::string> out = {state_path(folder), model_path(folder), best_path(folder),
                                  log_path(folder)};
  for (const char* name : {"report.json", "split.csv", "curves.png"})
    out.push_back((fs::path(folder) / name).string());
  for (const char* part : {"val", "test"})
    for (const char* name :
         {"confusion.csv", "confusion.png", "per_class.csv", "predictions.csv", "wrong.png"})
      out.push_back((fs::path(folder) / part / name).string());
  return out;
}

// A log of a run that was killed before its first checkpoint: nothing can continue it.
bool is_abandoned_log(const std::string& path) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    const std::string kind = entry.is_object() ? entry.value("kind", nlohmann::json()).dump() : "";
    if (kind != "\"step\"" && kind != "\"skip\"") return file.eof() && entry.is_discarded();
  }
  return fs::is_regular_file(path);
}

}  // namespace

void check_run_folder(const TrainOptions& options) {
  std::error_code unknown;
  const fs::path data = fs::weakly_canonical(options.data.path, unknown),
                 within = fs::weakly_canonical(options.out, unknown).lexically_relative(data);
  const bool inside = !within.empty() && *within.begin() != "..";
  require(!inside || fs::is_directory(data / "train"), "train",
          "{} lies in {}, whose folders are classes; give --out another place", options.out,
          options.data.path);
  if (options.resume || options.force) return;
  const std::string &out = options.out, log = log_path(out);
  const bool saved = fs::exists(state_path(out)) || fs::exists(model_path(out));
  require(!saved, "train", "{} holds a run already; --resume {} continues it, --force replaces it", out, out);
  require(!fs::exists(log) || is_abandoned_log(log), "train",
          "{} is the log of another run; give another folder, or --force replaces it", log);
}

bool clear_run_folder(const std::string& out) {
  std::error_code error;
  const bool made = fs::create_directories(out, error);
  require(fs::is_directory(out), ErrorKind::system, "train", "cannot make the folder {}: {}", out,
          error.message());
  for (const std::string& path : run_files(out)) fs::remove(path, error);
  return made;
}

void forget_run_folder(const std::string& out, bool made) {
  std::error_code error;
  for (const std::string& path : run_files(out)) fs::remove(path, error);
  if (made) fs::remove(out, error);  // unless something else is in it
}

}  // namespace locant
