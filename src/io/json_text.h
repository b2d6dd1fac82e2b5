#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace locant {

/// Largest config.json and its like that is read.
constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;

/// All bytes of a regular file of up to `limit` bytes. Throws Error for a larger one, and for a link whose
/// target is not there: what is left of an interrupted download.
std::string read_text_file(const std::string& path, std::uint64_t limit);

/// The object that `text` is; `path` stands in errors. Throws Error for text that is no valid JSON, is nested
/// more than 100 deep, or is no object.
nlohmann::json parse_json_object(std::string_view text, const std::string& path);

/// Throws Error where `path` is a link whose target is not there; anything else, nothing at all too, is fine.
void require_no_dangling_link(const std::string& path);

}  // namespace locant
