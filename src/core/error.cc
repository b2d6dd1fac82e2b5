#include "core/error.h"

namespace locant {

Error::Error(std::string_view op, std::string_view message)
    : std::runtime_error(fmt::format("[{}] {}", op, message)) {}

}  // namespace locant
