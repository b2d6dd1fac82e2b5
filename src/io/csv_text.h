#pragma once

#include <string>
#include <string_view>

namespace locant {

/// One CSV field (RFC 4180), quoted where needed.
std::string csv_field(std::string_view text);

}  // namespace locant
