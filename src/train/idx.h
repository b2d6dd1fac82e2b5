#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace locant {

/// An IDX file of bytes (MNIST's format): 0, 0, type 8 (unsigned byte), rank, extents as big-endian 32-bit,
/// data.
struct IdxArray {
  std::vector<std::int64_t> extents;
  std::vector<std::uint8_t> values;
};

/// Throws Error with file, offset and reason: not IDX, gzip, another element type or rank, an empty or too
/// large extent, a file shorter or longer than its header says. Allocates no more than the file's size.
IdxArray read_idx(const std::string& path, int rank);

/// True when the file starts as an IDX file of bytes does.
bool looks_like_idx(const std::string& path);

}  // namespace locant
