#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace locant {

struct IdentityOptions {
  /// Folder that keeps identities between runs, "weights-*.json" for each file of weights; empty: none are.
  std::string memory = {};
  /// Called every few megabytes that are read; false stops.
  std::function<bool(std::uint64_t done, std::uint64_t size)> progress = {};
  /// Gets the reason when an identity cannot be kept: the folder is full or read-only, say.
  std::function<void(const std::string&)> not_kept = {};
  /// A file that changed within so many seconds before it was read is read again next time: file systems
  /// stamp changes as coarsely as that, so it might change once more and look the same.
  double settled_s = 2.0;
};

/// Names weights by their content: XXH3 (128 bits, 32 hexadecimal digits) of the whole file, whatever its
/// format. Copying or touching a file changes nothing. What `memory` holds stands in for reading as long as
/// the file's path, device, inode, size, and times of modification and change (nanoseconds) are what they
/// were. Throws Cancelled, and Error for what is no regular file, cannot be read, or changes meanwhile.
std::string model_identity(const std::string& path, const IdentityOptions& options = {});

}  // namespace locant
