#include "core/version.h"

namespace locant {

const char* version() { return LOCANT_VERSION; }

}  // namespace locant
