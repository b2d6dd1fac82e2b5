#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "io/pickle.h"

namespace locant {

/// Largest count that a shape, stride, offset or storage of a .pth may have: products with an element's size
/// stay far from overflow.
constexpr std::int64_t kMaxPthCount = std::int64_t{1} << 58;

/// Questions about an unpickled torch.save. Errors name the file and the byte where the value began.
class PthValues {
 public:
  PthValues(const pickle::Document& document, const std::string& file) : document_(document), file_(file) {}

  const pickle::Document& document() const { return document_; }
  const pickle::Value& operator[](pickle::Ref ref) const { return document_[ref]; }
  const std::string& file() const { return file_; }

  /// "module.name" of a global, empty for anything else.
  std::string_view global(pickle::Ref ref) const;
  /// The class of an object, or the class that the value is; "unknown" where there is none.
  std::string class_of(pickle::Ref ref) const;
  /// A whole number from 0 to kMaxPthCount; Error otherwise, with `what`.
  std::int64_t count(pickle::Ref ref, const char* what) const;
  /// Items of a tuple or list, or of torch.Size((...)); Error for anything else.
  const std::vector<pickle::Ref>& sequence(pickle::Ref ref, const char* what) const;

  template <class... Args>
  [[noreturn]] void refuse(pickle::Ref ref, fmt::format_string<Args...> format, Args&&... args) const {
    fail("pth", "{}: byte {}: {}", file_, document_.base + document_[ref].at,
         fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  const pickle::Document& document_;
  const std::string& file_;
};

}  // namespace locant
