#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace locant {

/// Where the writer of write_file_atomically puts its bytes, in order.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  /// Throws Error when the disk is full or fails.
  virtual void write(std::span<const std::byte> bytes) = 0;
};

/// Replaces (or creates) a file so that at every moment, and after a crash, the path holds the old bytes or
/// the new ones, never a mixture: a temporary file of a unique name beside it is written, flushed to the
/// disk, renamed over the path, and the folder is flushed. A symbolic link is followed and stays a link. The
/// mode is the old file's, or what the umask gives. On failure (Error, or whatever `writer` throws) the
/// temporary file is gone and the old file as it was. Paths that hold something other than a regular file (a
/// folder, a device) are refused.
void write_file_atomically(const std::string& path, std::span<const std::byte> bytes);
void write_file_atomically(const std::string& path, const std::function<void(ByteSink&)>& writer);

}  // namespace locant
