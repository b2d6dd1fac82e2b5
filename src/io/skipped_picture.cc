#include "io/skipped_picture.h"

namespace locant {

SkippedPicture skipped_picture(const std::string& path, const Error& error) {
  std::string reason = error.what();
  const std::size_t op = reason.find("] ");
  if (reason.starts_with('[') && op != std::string::npos) reason.erase(0, op + 2);
  if (reason.starts_with(path + ": ")) reason.erase(0, path.size() + 2);
  return {path, reason};
}

}  // namespace locant
