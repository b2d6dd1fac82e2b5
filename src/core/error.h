#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace locant {

/// What every public entry point throws: "[op] what was wrong, with the values, and what to do".
class Error : public std::runtime_error {
 public:
  Error(std::string_view op, std::string_view message);
};

/// Throws Error(op, formatted message).
template <class... Args>
[[noreturn]] void fail(std::string_view op, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(op, fmt::format(format, std::forward<Args>(args)...));
}

/// fail(...) unless the condition holds. The arguments are evaluated either way: keep them cheap.
template <class... Args>
void require(bool condition, std::string_view op, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(op, format, std::forward<Args>(args)...);
}

}  // namespace locant
