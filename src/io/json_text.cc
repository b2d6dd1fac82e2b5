#include "io/json_text.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/mapped_file.h"

namespace locant {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxNesting = 100;

/// Whether brackets outside strings are nested deeper than is read: values of a small text could else take
/// much memory.
bool too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxNesting) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

}  // namespace

void require_no_dangling_link(const std::string& path) {
  std::error_code error;
  if (!fs::is_symlink(path, error) || fs::exists(path, error)) return;
  fail(ErrorKind::file, "weights",
       "{}: is a link to {}, which is not there: the download was interrupted; fetch the "
       "model again",
       path, fs::read_symlink(path, error).string());
}

std::string read_text_file(const std::string& path, std::uint64_t limit) {
  require_no_dangling_link(path);
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  require(file->size() <= limit, ErrorKind::file, "weights", "{}: takes {} bytes; up to {} are read", path,
          file->size(), limit);
  return {reinterpret_cast<const char*>(file->bytes().data()), static_cast<std::size_t>(file->size())};
}

nlohmann::json parse_json_object(std::string_view text, const std::string& path) {
  require(text.substr(0, 23) != "version https://git-lfs", ErrorKind::file, "weights",
          "{}: is a Git LFS pointer: fetch the file itself", path);
  require(!too_deep(text), ErrorKind::file, "weights", "{}: its JSON is nested more than {} deep", path,
          kMaxNesting);
  nlohmann::json out = nlohmann::json::parse(text, nullptr, false);
  require(!out.is_discarded(), ErrorKind::file, "weights",
          "{}: is no valid JSON: the file is damaged or cut off; fetch it again", path);
  require(out.is_object(), ErrorKind::file, "weights", "{}: its JSON is no object", path);
  return out;
}

}  // namespace locant
