#pragma once

#include <optional>
#include <string_view>

namespace locant {

/// What LOCANT_NUM_THREADS says. Throws Error that names it unless it is a number of 1 to kMaxThreads.
int parse_locant_num_threads(std::string_view text);

/// What OMP_NUM_THREADS says of the outermost level: "4", or "4,2" for nested ones, kMaxThreads at most.
/// Nothing when it is malformed, which the OpenMP runtime reports itself.
std::optional<int> parse_omp_num_threads(std::string_view text);

}  // namespace locant
