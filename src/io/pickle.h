#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace locant::pickle {

/// Index of a value in its document. References instead of pointers: a hostile stream may build cycles.
using Ref = std::uint32_t;

enum class Kind : std::uint8_t {
  none,
  boolean,      ///< integer: 0 or 1
  integer,      ///< integer
  big_integer,  ///< text: little-endian two's complement bytes, or decimal digits of protocol 0
  real,         ///< real
  string,       ///< text, UTF-8 as it stands in the stream
  bytes,        ///< text
  list,         ///< items
  tuple,        ///< items
  set,          ///< items
  dict,         ///< items: key, value, key, value, ...
  global,       ///< text: "module.name"; never looked up, never run
  persistent,   ///< items: the identifier
  call,  ///< items: callable, arguments, and the state where one is set. What Python would run, described
};

struct Value {
  Kind kind = Kind::none;
  std::uint32_t at = 0;  ///< where in the stream the opcode stands that made it
  std::int64_t integer = 0;
  double real = 0.0;
  std::string_view text{};
  std::vector<Ref> items{};
};

struct Document {
  std::vector<Value> values;
  std::deque<std::string> texts;  ///< what `text` views when it is not the stream itself
  Ref root = 0;
  std::size_t length = 0;  ///< bytes of the stream up to and including STOP
  std::uint64_t base = 0;  ///< place of the stream in its file

  const Value& operator[](Ref ref) const { return values[ref]; }
};

constexpr std::size_t kMaxObjects = std::size_t{1} << 22;
constexpr std::size_t kMaxStream = std::size_t{1} << 30;

/// Reads one pickle of protocol 0 to 5 from the front of `bytes`, which must outlive the document. Nothing is
/// imported or executed: classes stay names, calls stay descriptions, except that an OrderedDict, defaultdict
/// or Counter is a dict. Memory is in proportion to the stream and at most kMaxObjects values; what lies past
/// kMaxStream is not looked at. Throws Error with `file`, the offset (counted from `base`, the place of
/// bytes[0] in the file) and the reason for anything malformed, truncated or too large.
Document read(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base = 0);

}  // namespace locant::pickle
