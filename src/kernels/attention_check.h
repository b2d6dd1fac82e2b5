#pragma once

#include "kernels/attention.h"

namespace locant {

/// What a call may hold at most: score terms, and floats of a head's row. Calls with more are refused, so
/// that arrays may have these sizes.
inline constexpr std::size_t kMaxTerms = 4;
inline constexpr std::int64_t kMaxWidth = 256;

/// Throws Error ("[attention] ...") when sizes, buffers, maps or terms do not fit. False: nothing to do.
bool check_attention(const AttentionArgs& args);

}  // namespace locant
