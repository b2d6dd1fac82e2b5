#include "train/run_log.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "core/error.h"

namespace locant {

void append_log_line(const std::string& path, const std::string& line) {
  std::FILE* file = std::fopen(path.c_str(), "ab");
  require(file != nullptr, ErrorKind::system, "train", "cannot write {}: {}", path, std::strerror(errno));
  const std::string text = line + "\n";
  const bool taken = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int why = errno;
  const bool closed = std::fclose(file) == 0;
  require(taken && closed, ErrorKind::system, "train",
          "cannot write {}: {}; make room for it and go on from the last checkpoint", path,
          std::strerror(taken ? errno : why));
}

double clock_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace locant
