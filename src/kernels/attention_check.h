#pragma once

#include "kernels/attention.h"

namespace locant {

/// Throws Error ("[attention] ...") when sizes, buffers, maps or terms do not fit. False: nothing to do.
bool check_attention(const AttentionArgs& args);

}  // namespace locant
