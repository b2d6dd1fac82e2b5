#pragma once

#include <string>

namespace locant {

/// Tells one file of weights from another without reading the weights: SHA-256, 64 hexadecimal digits, of
///   .pth (zip)      every entry's name, size, place and CRC-32, from the archive's directory
///   safetensors     the header: names, dtypes, shapes and offsets
///   .pth (older)    the first 256 KiB, where the pickle of names and shapes stands
/// and of the file's size and 64 samples of 64 bytes spread over it: a fine-tuned safetensors file has the
/// header of its origin, and archives may be written without check sums. Copying or touching a file changes
/// nothing. Throws Error for a file that is none of these.
std::string model_identity(const std::string& path);

}  // namespace locant
