#pragma once

#include <string_view>
#include <vector>

#include "position/encoding.h"

namespace locant {

/// Every encoding, in the order of the documentation: tests, command line, benchmarks and docs read this
/// list.
const std::vector<const Encoding*>& encodings();

/// Throws Error that names near misses when there is none.
const Encoding& find_encoding(std::string_view name);

}  // namespace locant
