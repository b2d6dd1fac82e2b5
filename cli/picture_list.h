#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "core/error.h"

namespace CLI {
class App;
}

namespace locant::cli {

/// --strict.
void add_strict(CLI::App* sub, bool& strict);

/// One of the pictures that a command was given.
struct ListedPicture {
  std::string path;              ///< "-": standard input
  std::optional<Error> problem;  ///< why it is not read at all
};

/// The pictures that a command was given, and how they fared: one that cannot be read is named and counted,
/// and the others go on.
///
///   PictureList list(globals, options.pictures, options.strict);
///   for (const ListedPicture& picture : list.pictures())
///     if (!list.attempt(picture, [&] { image = read_image(picture.path); }) && list.stopped()) break;
///   return list.finish();
class PictureList {
 public:
  using Failed = std::function<void(const std::string& path, const std::string& error)>;
  /// `arguments`: files as they are, "-" for standard input, folders replaced by the pictures in them
  /// (io/picture_files.h), sorted by name. Among several, what does not exist, holds no picture or is
  /// nobody's picture by its name becomes a listed problem or is passed over with a note; a lone one is an
  /// Error. `strict`: the first failure is the last. `failed` hears of each failure.
  PictureList(const GlobalOptions& globals, const std::vector<std::string>& arguments, bool strict = false,
              Failed failed = {});

  const std::vector<ListedPicture>& pictures() const { return pictures_; }
  std::int64_t size() const { return static_cast<std::int64_t>(pictures_.size()); }
  /// False when the picture has a problem, or `work` throws Error or runs out of memory: a warning says so.
  /// Then stopped() where the error is the command's own: the one file that it was given, or `strict`.
  bool attempt(const ListedPicture& picture, const std::function<void()>& work);
  bool stopped() const { return stop_ != nullptr; }
  std::int64_t failed() const { return failed_; }
  /// A bar to take away before a warning; it must live as long as attempt() is called.
  void clear_before_warnings(Progress& bar) { bar_ = &bar; }
  /// The exit code, after a last line about failures. Throws the error that stopped().
  int finish() const;

 private:
  void add(const std::string& argument, bool lone);
  void add_folder(const std::string& folder);
  void fail(const std::string& path, const Error& error);

  Failed on_failure_;
  std::vector<ListedPicture> pictures_;
  bool strict_ = false, lone_file_ = false;
  std::int64_t failed_ = 0;
  std::exception_ptr stop_;
  Progress* bar_ = nullptr;
};

}  // namespace locant::cli
