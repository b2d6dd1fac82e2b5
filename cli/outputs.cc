#include "cli/outputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "cli/cli.h"
#include "core/error.h"
#include "io/atomic_file.h"
#include "io/image_decoders.h"
#include "io/safetensors.h"

namespace locant::cli {
namespace {

namespace fs = std::filesystem;

using Identity = std::pair<std::uint64_t, std::uint64_t>;

std::optional<Identity> identity_of(const std::string& path) {
  struct stat status {};
  if (path.empty() || path == "-" || ::stat(path.c_str(), &status) != 0) return std::nullopt;
  return Identity{static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino)};
}

/// One name for a file that is not there yet: its folder's own path, and its name at the end of its links.
std::string settled(const std::string& path) {
  fs::path target(path);
  std::error_code code;
  for (int links = 0; links < 40 && fs::is_symlink(target, code); ++links) {
    const fs::path next = fs::read_symlink(target, code);
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  return (fs::weakly_canonical(folder, code) / target.filename()).native();
}

class StandardOutput final : public ByteSink {
 public:
  void write(std::span<const std::byte> bytes) override {
    write_out({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
};

}  // namespace

void Outputs::add(const std::string& flag, const std::string& path, Kind kind) {
  if (path.empty()) return;
  if (path == "-") {
    require(!on_stdout_, "output", "{} and another output would both be written to standard output", flag);
    require(kind == Kind::text || !is_terminal(STDOUT_FILENO), "output",
            "{} - would write binary data to the terminal; send it to a file or a program", flag);
    on_stdout_ = true;
    return;
  }
  require_writable(path);
  const auto once = [&](bool fresh, const File& other) {
    require(fresh, "output", "{} {} and {} {} are the same file; give each its own", other.flag, other.path,
            flag, path);
  };
  if (const std::optional<Identity> there = identity_of(path)) {
    const auto [at, fresh] = there_.try_emplace(*there, File{flag, path});
    once(fresh, at->second);
  } else {
    const auto [at, fresh] = to_come_.try_emplace(settled(path), File{flag, path});
    once(fresh, at->second);
  }
}

void Outputs::keep(const std::string& input) const {
  const std::optional<Identity> identity = identity_of(input);
  if (!identity) return;
  const auto found = there_.find(*identity);
  if (found == there_.end()) return;
  fail("output", "{} {} would replace {}, which is read; give another path", found->second.flag,
       found->second.path, input);
}

void save_png(const std::string& path, const Image& image) {
  if (path != "-") return write_png(path, image);
  const std::vector<std::uint8_t> bytes = image_io::encode_png(image, output_name(path));
  write_out({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

void save_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  if (path != "-") return write_safetensors(path, tensors, metadata);
  StandardOutput sink;
  write_safetensors(sink, output_name(path), tensors, metadata);
}

void save_text(const std::string& path, const std::string& text) {
  if (path == "-") return write_out(text);
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

std::string output_name(const std::string& path) { return path == "-" ? "standard output" : printable(path); }

}  // namespace locant::cli
