#include "io/hub_cache.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "io/json_text.h"

namespace locant {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxRef = 1024;

std::vector<std::string> folders_in(const fs::path& path) {
  std::vector<std::string> out;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    std::error_code none;
    if (it->is_directory(none)) out.push_back(it->path().filename().string());
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string trimmed(std::string text) {
  const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  while (!text.empty() && blank(text.back())) text.pop_back();
  return text;
}

}  // namespace

bool is_hub_cache(const std::string& folder) {
  std::error_code error;
  return fs::is_directory(fs::path(folder) / "snapshots", error) &&
         !fs::exists(fs::path(folder) / "config.json", error);
}

std::string hub_snapshot(const std::string& folder) {
  const fs::path root(folder), snapshots = root / "snapshots", ref = root / "refs" / "main";
  std::error_code error;
  if (fs::exists(ref, error)) {
    const std::string hash = trimmed(read_text_file(ref.string(), kMaxRef));
    require(!hash.empty() && hash != "." && hash != ".." && hash.find_first_of("/\\") == std::string::npos,
            ErrorKind::file, "weights", "{}: names no snapshot", ref.string());
    const fs::path snapshot = snapshots / hash;
    require(
        fs::is_directory(snapshot, error), ErrorKind::file, "weights",
        "{}: names the snapshot {}, which is not there: the download was interrupted; fetch the model again",
        ref.string(), hash);
    return snapshot.string();
  }
  const std::vector<std::string> all = folders_in(snapshots);
  require(!all.empty(), ErrorKind::file, "weights", "{}: the cache holds no snapshot; fetch the model again",
          folder);
  require(all.size() == 1, ErrorKind::file, "weights",
          "{}: the cache holds several snapshots and no refs/main; name one of them: {}", folder,
          fmt::join(all, ", "));
  return (snapshots / all[0]).string();
}

std::string interrupted_download(const std::string& snapshot) {
  std::error_code error;
  const fs::path blobs = fs::path(snapshot).parent_path().parent_path() / "blobs";
  for (fs::directory_iterator it(blobs, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".incomplete")
      return "; a download of this model was interrupted: fetch it again";
  return "";
}

}  // namespace locant
