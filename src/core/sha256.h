#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace locant {

/// SHA-256 (FIPS 180-4) in 64 hexadecimal digits.
std::string sha256_hex(std::span<const std::uint8_t> bytes);

}  // namespace locant
