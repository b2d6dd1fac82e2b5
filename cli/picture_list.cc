#include "cli/picture_list.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <new>

#include "core/error.h"
#include "io/picture_files.h"

namespace locant::cli {
namespace {

namespace fs = std::filesystem;

/// Names that a shell's or find's list brings along. A plain hidden file was named on purpose.
bool is_litter(const std::string& path) {
  const fs::path plain = fs::path(path).lexically_normal();
  const std::string name =
      plain.has_filename() ? plain.filename().native() : plain.parent_path().filename().native();
  const bool hidden = name.starts_with('.') && !name.starts_with("._") && name != ".ipynb_checkpoints";
  return is_passed_over(name) && !hidden;
}

}  // namespace

void add_strict(CLI::App* sub, bool& strict) {
  sub->add_flag("--strict", strict,
                "End at the first picture that cannot be read; otherwise each is named and the others go on");
}

PictureList::PictureList(const GlobalOptions& globals, const std::vector<std::string>& arguments, bool strict,
                         Failed failed)
    : on_failure_(std::move(failed)), strict_(strict) {
  const bool lone = arguments.size() == 1;
  for (const std::string& argument : arguments) {
    if (!lone && is_litter(argument))
      note(globals, "{}: passed over", argument);
    else
      add(argument, lone);
  }
  require(!pictures_.empty(), "pictures", "none of the {} names given is a picture's", arguments.size());
}

void PictureList::add(const std::string& argument, bool lone) {
  try {
    std::error_code code;
    const fs::file_status status = fs::status(argument, code);
    if (argument != "-" && fs::is_directory(status)) return add_folder(argument);
    require(argument == "-" || fs::exists(status), "pictures", "there is no file or folder {}", argument);
    pictures_.push_back({argument, {}});
    lone_file_ = lone;
  } catch (const Error& error) {
    if (lone) throw;
    pictures_.push_back({argument, error});
  }
}

void PictureList::add_folder(const std::string& folder) {
  const PictureFiles found = pictures_in(folder);
  require(!found.pictures.empty() || !found.others.empty(), "pictures",
          "no picture in the folder {}; pictures end in .jpg, .png, .webp, .tif, .ppm or .pgm", folder);
  for (const std::string& path : found.pictures) pictures_.push_back({path, {}});
  for (const std::string& path : found.others)
    pictures_.push_back(
        {path, Error("pictures",
                     fmt::format("{}: skipped: a FIFO, device or socket; named itself it is read", path))});
}

bool PictureList::attempt(const ListedPicture& picture, const std::function<void()>& work) {
  try {
    if (picture.problem) throw *picture.problem;
    work();
    return true;
  } catch (const Error& error) {
    fail(picture.path, error);
  } catch (const std::bad_alloc&) {
    fail(picture.path, Error("pictures", picture.path + ": not enough memory"));
  }
  return false;
}

void PictureList::fail(const std::string& path, const Error& error) {
  ++failed_;
  if (bar_ != nullptr) bar_->finish();
  if (on_failure_) on_failure_(path, error.what());
  if (!lone_file_ && !strict_)
    warn(error.what());
  else if (stop_ == nullptr)
    stop_ = std::make_exception_ptr(error);
}

int PictureList::finish() const {
  if (stop_) std::rethrow_exception(stop_);
  if (failed_ == 0) return kOk;
  warn(fmt::format("{} of {} pictures failed", failed_, size()));
  return kCheckFailed;
}

}  // namespace locant::cli
