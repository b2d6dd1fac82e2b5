#pragma once

#include <string>

#include "kernels/attention.h"

namespace locant {

/// What a call may hold at most: score terms, and floats of a head's row. Calls with more are refused, so
/// that arrays may have these sizes.
inline constexpr std::size_t kMaxTerms = 4;
inline constexpr std::int64_t kMaxWidth = 256;

/// Throws Error ("[attention] ...") when sizes, buffers, maps or terms do not fit. False: nothing to do.
bool check_attention(const AttentionArgs& args);
/// The same but for buffers, which may all be missing.
bool check_attention_numbers(const AttentionArgs& args);

/// How many rows of its table a view asks for. Throws Error that starts with `what` ("term 2 (band)") when
/// codes are missing, or give offsets outside [0, offsets). Reads codes and map once.
std::int64_t rows_wanted(const OffsetView& view, std::int64_t Nq, std::int64_t Nk, const std::string& what);

}  // namespace locant
