#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace locant {

/// What a file of another framework is and what to save instead, "; it is ..."; empty for a name or a content
/// that is none of those. The name's end counts, in any case of letters.
std::string_view foreign_by_name(std::string_view name);
std::string_view foreign_by_content(std::span<const std::byte> bytes);

}  // namespace locant
