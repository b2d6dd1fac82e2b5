#pragma once

namespace locant {

/// "0.1.0"
const char* version();

}  // namespace locant
