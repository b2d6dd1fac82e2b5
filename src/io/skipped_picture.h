#pragma once

#include <string>

#include "core/error.h"

namespace locant {

/// A picture that was left out of a run, and why ("damaged or truncated PNG: ..."), without its path.
struct SkippedPicture {
  std::string path;
  std::string reason;
};

/// What reading `path` threw: the reason is the message without the "[op]" and the path in front.
SkippedPicture skipped_picture(const std::string& path, const Error& error);

}  // namespace locant
