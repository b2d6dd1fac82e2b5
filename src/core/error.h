#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace locant {

/// Who has to do something about it.
enum class ErrorKind {
  value,  ///< an argument: an option, a shape, a configuration that cannot be
  file,   ///< the content of a file: damaged, or not what was asked for
  system  ///< the machine: a file that cannot be opened or written, memory, threads
};

/// What every public entry point throws: "[op] what was wrong, with the values, and what to do".
class Error : public std::runtime_error {
 public:
  Error(std::string_view op, std::string_view message, ErrorKind kind = ErrorKind::value);
  /// The operation, model or reader that refused: what() begins with it in brackets.
  std::string_view op() const noexcept;
  ErrorKind kind() const noexcept { return kind_; }
  /// The same error, seen from where it is known that a file is to blame. Keeps what the system reported.
  void blame_file() noexcept {
    if (kind_ == ErrorKind::value) kind_ = ErrorKind::file;
  }

 private:
  ErrorKind kind_;
};

/// What long work throws when its callback asks it to stop: nothing went wrong, and so it is no Error.
class Cancelled : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws Error(op, formatted message, kind).
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, std::string_view op, fmt::format_string<Args...> format,
                       Args&&... args) {
  throw Error(op, fmt::format(format, std::forward<Args>(args)...), kind);
}
/// The same of kind value.
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
template <class... Args>
void require(bool condition, ErrorKind kind, std::string_view op, fmt::format_string<Args...> format,
             Args&&... args) {
  if (!condition) [[unlikely]]
    fail(kind, op, format, std::forward<Args>(args)...);
}

/// What `read` gives; its errors are the file's.
template <class Read>
auto reading_file(const Read& read) -> decltype(read()) {
  try {
    return read();
  } catch (Error& error) {
    error.blame_file();
    throw;
  }
}

}  // namespace locant
