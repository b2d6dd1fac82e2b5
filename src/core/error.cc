#include "core/error.h"

namespace locant {

Error::Error(std::string_view op, std::string_view message, ErrorKind kind)
    : std::runtime_error(fmt::format("[{}] {}", op, message)), kind_(kind) {}

std::string_view Error::op() const noexcept {
  const std::string_view text = what();
  return text.substr(1, text.find(']') - 1);
}

}  // namespace locant
