#include "io/picture_files.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "core/error.h"
#include "io/image.h"

namespace locant {
namespace fs = std::filesystem;
namespace {

void collect(const fs::path& folder, bool deep, PictureFiles& found) {
  std::error_code code;
  fs::directory_iterator entry(folder, code);
  for (; !code && entry != fs::directory_iterator(); entry.increment(code)) {
    const fs::path& path = entry->path();
    if (is_passed_over(path.filename().native())) continue;
    std::error_code unknown;  // a dangling link has no type of its own
    const fs::file_status status = entry->status(unknown);
    if (fs::is_directory(status)) {
      if (deep && !entry->is_symlink(unknown)) collect(path, deep, found);
    } else if (has_image_extension(path.native())) {
      const bool readable = fs::is_regular_file(status) || !fs::exists(status);
      (readable ? found.pictures : found.others).push_back(path.native());
    }
  }
  require(!code, ErrorKind::system, "pictures", "cannot read the folder {}: {}", folder.native(),
          code.message());
}

}  // namespace

bool is_passed_over(std::string_view name) {
  constexpr std::array<std::string_view, 3> kPassedOver = {"__MACOSX", "Thumbs.db", "desktop.ini"};
  return name.starts_with('.') ||
         std::find(kPassedOver.begin(), kPassedOver.end(), name) != kPassedOver.end();
}

PictureFiles pictures_in(const std::string& folder, bool deep) {
  PictureFiles found;
  collect(folder, deep, found);
  std::sort(found.pictures.begin(), found.pictures.end());
  std::sort(found.others.begin(), found.others.end());
  return found;
}

}  // namespace locant
