#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "io/image.h"

namespace locant::cli {

/// The files that a command is going to write. All are added, and then every input is kept, before any work:
/// neither an input nor another output is replaced.
class Outputs {
 public:
  enum class Kind { binary, text };
  /// `flag` stands in errors. An empty path is none, "-" is standard output. Throws Error when nothing can be
  /// written there (require_writable), when another output is the same file, and for binary output to a
  /// terminal.
  void add(const std::string& flag, const std::string& path, Kind kind = Kind::binary);
  /// Throws Error when an output is this file: by its path, a link or a hard link. A path that is empty, "-"
  /// or no file is none.
  void keep(const std::string& input) const;
  /// Does an output go to standard output? Then what is said to people does not.
  bool on_stdout() const { return on_stdout_; }

 private:
  struct File {
    std::string flag, path;
  };
  std::map<std::pair<std::uint64_t, std::uint64_t>, File> there_;  ///< by device and inode
  std::map<std::string, File> to_come_;                            ///< by path, links followed
  bool on_stdout_ = false;
};

// To a file, whole or not at all, or to standard output for "-". Throw Error.
void save_png(const std::string& path, const Image& image);
void save_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata);
void save_text(const std::string& path, const std::string& text);
/// What people are told: "standard output", or the path as printable().
std::string output_name(const std::string& path);

}  // namespace locant::cli
