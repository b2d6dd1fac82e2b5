// Above 500 lines: the opcodes of one stack machine, which read and write the same state.
#include "io/pickle.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/error.h"

namespace locant::pickle {
namespace {

/// The pickle machine: a stack of values, a stack of marks and a memo (pickletools.py describes each opcode).
/// The file is long because the whole opcode table is one switch, its limits beside it.
class Machine {
 public:
  Machine(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base)
      : bytes_(bytes.first(std::min(bytes.size(), kMaxStream))), file_(file), base_(base) {
    // Values that need no identity exist once: one-byte opcodes then cost four bytes.
    none_ = make({.kind = Kind::none});
    false_ = make({.kind = Kind::boolean, .integer = 0});
    true_ = make({.kind = Kind::boolean, .integer = 1});
    empty_tuple_ = make({.kind = Kind::tuple});
    for (int i = 0; i < 256; ++i) make({.kind = Kind::integer, .integer = i});
  }

  Document run() {
    for (;;) {
      opcode_at_ = at_;
      const auto opcode = static_cast<unsigned char>(take(1)[0]);
      if (opcode == '.') break;
      if (!constant(opcode) && !number_as_text(opcode) && !text(opcode) && !container(opcode) &&
          !items(opcode) && !object(opcode) && !persistent(opcode) && !memo(opcode))
        refuse("unknown opcode 0x{:02x}", opcode);
    }
    document_.root = pop();
    document_.length = at_;
    document_.base = base_;
    return std::move(document_);
  }

 private:
  static constexpr Ref kSmallIntegers = 4;
  static constexpr Ref kNothing = 0xFFFFFFFF;
  static constexpr std::size_t kMaxClassName = 512;
  static constexpr std::size_t kMaxClasses = 1 << 16;

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("pickle", "{}: byte {}: {}", file_, base_ + opcode_at_,
         fmt::format(format, std::forward<Args>(args)...));
  }

  // ---- the stream
  std::string_view take(std::uint64_t count) {
    if (count > bytes_.size() - at_)
      refuse("the stream ends after {} of the {} bytes that the opcode needs", bytes_.size() - at_, count);
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + at_,
                                static_cast<std::size_t>(count));
    at_ += static_cast<std::size_t>(count);
    return text;
  }
  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string_view line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes_.size() - at_);
    const std::size_t end = rest.find('\n');
    if (end == std::string_view::npos) refuse("the stream ends inside a line of text");
    at_ += end + 1;
    return rest.substr(0, end);
  }

  // ---- values, stack, marks
  Ref make(Value value) {
    if (document_.values.size() == kMaxObjects) refuse("more than {} objects", kMaxObjects);
    value.at = static_cast<std::uint32_t>(opcode_at_);
    document_.values.push_back(std::move(value));
    return static_cast<Ref>(document_.values.size() - 1);
  }
  Ref integer(std::int64_t value) {
    if (value >= 0 && value < 256) return kSmallIntegers + static_cast<Ref>(value);
    return make({.kind = Kind::integer, .integer = value});
  }
  Value& value(Ref ref) { return document_.values[ref]; }
  void push(Ref ref) {
    if (stack_.size() == kMaxObjects) refuse("a stack of more than {} values", kMaxObjects);
    stack_.push_back(ref);
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  Ref pop() {
    if (stack_.size() <= floor()) refuse("a value is taken from an empty stack");
    const Ref ref = stack_.back();
    stack_.pop_back();
    return ref;
  }
  Ref top() const {
    if (stack_.size() <= floor()) refuse("a value is read from an empty stack");
    return stack_.back();
  }
  std::vector<Ref> pop_to_mark() {
    if (marks_.empty()) refuse("there is no mark to go back to");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<Ref> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return items;
  }
  void push_tuple(int count) {
    std::vector<Ref> items(static_cast<std::size_t>(count));
    for (int i = count - 1; i >= 0; --i) items[static_cast<std::size_t>(i)] = pop();
    push(make({.kind = Kind::tuple, .items = std::move(items)}));
  }
  void push_text(Kind kind, std::string_view text) { push(make({.kind = kind, .text = text})); }

  // ---- opcodes, by family; each says whether the opcode was its own
  bool constant(unsigned char opcode) {
    switch (opcode) {
      case 'N':
        push(none_);
        return true;
      case 0x88:
        push(true_);
        return true;
      case 0x89:
        push(false_);
        return true;
      case ')':
        push(empty_tuple_);
        return true;
      case 'K':
        push(integer(number<std::uint8_t>()));
        return true;
      case 'M':
        push(integer(number<std::uint16_t>()));
        return true;
      case 'J':
        push(integer(number<std::int32_t>()));
        return true;
      case 'G': {
        const auto bits = __builtin_bswap64(number<std::uint64_t>());
        push(make({.kind = Kind::real, .real = std::bit_cast<double>(bits)}));
        return true;
      }
      case 0x8A:
        push(long_integer(take(number<std::uint8_t>())));
        return true;
      case 0x8B: {
        const auto count = number<std::int32_t>();
        if (count < 0) refuse("a negative length");
        push(long_integer(take(static_cast<std::uint64_t>(count))));
        return true;
      }
      default:
        return false;
    }
  }

  bool number_as_text(unsigned char opcode) {
    switch (opcode) {
      case 'I': {
        const std::string_view text = line();
        push(text == "00" ? false_ : text == "01" ? true_ : decimal(text));
        return true;
      }
      case 'L': {
        std::string_view text = line();
        if (!text.empty() && text.back() == 'L') text.remove_suffix(1);
        push(decimal(text));
        return true;
      }
      case 'F': {
        const std::string text(line());
        char* end = nullptr;
        const double real = std::strtod(text.c_str(), &end);
        if (text.empty() || end != text.c_str() + text.size())
          refuse("\"{}\" is no number", text.substr(0, 40));
        push(make({.kind = Kind::real, .real = real}));
        return true;
      }
      default:
        return false;
    }
  }

  Ref long_integer(std::string_view bytes) {
    if (bytes.size() > 8) return make({.kind = Kind::big_integer, .text = bytes});
    std::int64_t number = !bytes.empty() && (static_cast<unsigned char>(bytes.back()) & 0x80u) != 0 ? -1 : 0;
    std::memcpy(&number, bytes.data(), bytes.size());
    return integer(number);
  }
  Ref decimal(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (end != text.data() + text.size() || text.empty())
      refuse("\"{}\" is no whole number", text.substr(0, 40));
    return code == std::errc() ? integer(number) : make({.kind = Kind::big_integer, .text = text});
  }

  bool text(unsigned char opcode) {
    switch (opcode) {
      case 'X':
        push_text(Kind::string, take(number<std::uint32_t>()));
        return true;
      case 0x8C:
        push_text(Kind::string, take(number<std::uint8_t>()));
        return true;
      case 0x8D:
        push_text(Kind::string, take(number<std::uint64_t>()));
        return true;
      case 'T':
        push_text(Kind::string, take(number<std::uint32_t>()));
        return true;
      case 'U':
        push_text(Kind::string, take(number<std::uint8_t>()));
        return true;
      case 'B':
        push_text(Kind::bytes, take(number<std::uint32_t>()));
        return true;
      case 'C':
        push_text(Kind::bytes, take(number<std::uint8_t>()));
        return true;
      case 0x8E:
      case 0x96:
        push_text(Kind::bytes, take(number<std::uint64_t>()));
        return true;
      case 'V':
        push_text(Kind::string, line());
        return true;  // \u escapes stay as written
      case 'S': {
        std::string_view text = line();
        const bool quoted =
            text.size() >= 2 && (text.front() == '\'' || text.front() == '"') && text.back() == text.front();
        if (!quoted) refuse("a string of protocol 0 without quotes");
        push_text(Kind::string, text.substr(1, text.size() - 2));
        return true;
      }
      default:
        return false;
    }
  }

  bool container(unsigned char opcode) {
    switch (opcode) {
      case '(':
        if (marks_.size() == kMaxObjects) refuse("more than {} marks", kMaxObjects);
        marks_.push_back(stack_.size());
        return true;
      case '0':
        if (!marks_.empty() && stack_.size() == marks_.back())
          marks_.pop_back();
        else
          pop();
        return true;
      case '1':
        pop_to_mark();
        return true;
      case '2':
        push(top());
        return true;
      case ']':
        push(make({.kind = Kind::list}));
        return true;
      case '}':
        push(make({.kind = Kind::dict}));
        return true;
      case 0x8F:
        push(make({.kind = Kind::set}));
        return true;
      case 'l':
        push(make({.kind = Kind::list, .items = pop_to_mark()}));
        return true;
      case 't':
        push(make({.kind = Kind::tuple, .items = pop_to_mark()}));
        return true;
      case 0x91:
        push(make({.kind = Kind::set, .items = pop_to_mark()}));
        return true;
      case 'd':
        push(make({.kind = Kind::dict, .items = pairs(pop_to_mark())}));
        return true;
      case 0x85:
        push_tuple(1);
        return true;
      case 0x86:
        push_tuple(2);
        return true;
      case 0x87:
        push_tuple(3);
        return true;
      default:
        return false;
    }
  }

  /// Items for a container that is there already.
  bool items(unsigned char opcode) {
    switch (opcode) {
      case 'a': {
        const Ref item = pop();
        extend(Kind::list, {item});
        return true;
      }
      case 'e': {
        const std::vector<Ref> items = pop_to_mark();
        extend(Kind::list, items);
        return true;
      }
      case 0x90: {
        const std::vector<Ref> items = pop_to_mark();
        extend(Kind::set, items);
        return true;
      }
      case 's': {
        const Ref item = pop(), key = pop();
        extend(Kind::dict, {key, item});
        return true;
      }
      case 'u': {
        const std::vector<Ref> items = pairs(pop_to_mark());
        extend(Kind::dict, items);
        return true;
      }
      default:
        return false;
    }
  }

  std::vector<Ref> pairs(std::vector<Ref> items) const {
    if (items.size() % 2 != 0) refuse("a dict gets a key without a value");
    return items;
  }

  /// Adds items to the container on top. What belongs to an object of an unknown class is dropped with it.
  void extend(Kind kind, const std::vector<Ref>& items) {
    Value& container = value(top());
    if (container.kind == kind)
      container.items.insert(container.items.end(), items.begin(), items.end());
    else if (container.kind != Kind::call && container.kind != Kind::persistent)
      refuse("items are added to something that is no container of their kind");
  }

  bool object(unsigned char opcode) {
    switch (opcode) {
      case 'c': {
        const std::string module(line());
        push_global(module, line());
        return true;
      }
      case 0x93: {
        const Ref name = pop(), module = pop();
        if (value(name).kind != Kind::string || value(module).kind != Kind::string)
          refuse("a class name that is no text");
        push_global(std::string(value(module).text), value(name).text);
        return true;
      }
      case 0x82:
        push_extension(number<std::uint8_t>());
        return true;
      case 0x83:
        push_extension(number<std::uint16_t>());
        return true;
      case 0x84:
        push_extension(number<std::uint32_t>());
        return true;
      case 'R':
      case 0x81: {
        const Ref arguments = pop(), callable = pop();
        push_call(callable, arguments);
        return true;
      }
      case 0x92: {
        pop();  // keyword arguments
        const Ref arguments = pop(), callable = pop();
        push_call(callable, arguments);
        return true;
      }
      case 'i': {
        const std::string module(line());
        const std::string_view name = line();
        const Ref arguments = make({.kind = Kind::tuple, .items = pop_to_mark()});
        push_global(module, name);
        push_call(pop(), arguments);
        return true;
      }
      case 'o': {
        std::vector<Ref> items = pop_to_mark();
        if (items.empty()) refuse("an object without a class");
        const Ref callable = items.front();
        items.erase(items.begin());
        push_call(callable, make({.kind = Kind::tuple, .items = std::move(items)}));
        return true;
      }
      case 'b': {
        const Ref state = pop();
        Value& object = value(top());
        // What is no call (an OrderedDict) drops its attributes; of several states the first counts.
        if (object.kind == Kind::call && object.items.size() == 2) object.items.push_back(state);
        return true;
      }
      default:
        return false;
    }
  }

  bool persistent(unsigned char opcode) {
    switch (opcode) {
      case 'P': {
        const Ref identifier = make({.kind = Kind::string, .text = line()});
        push(make({.kind = Kind::persistent, .items = {identifier}}));
        return true;
      }
      case 'Q': {
        const Ref identifier = pop();
        push(make({.kind = Kind::persistent, .items = {identifier}}));
        return true;
      }
      default:
        return false;
    }
  }

  void push_global(const std::string& module, std::string_view name) {
    std::string full = module + "." + std::string(name);
    if (full.size() > kMaxClassName) refuse("a class name of {} characters", full.size());
    // Equal names share one value: a class is named anew for every object of it.
    const auto found = globals_.find(full);
    if (found != globals_.end()) return push(found->second);
    if (globals_.size() == kMaxClasses) refuse("more than {} classes", kMaxClasses);
    const Ref ref = make({.kind = Kind::global, .text = document_.texts.emplace_back(full)});
    globals_.emplace(std::move(full), ref);
    push(ref);
  }
  void push_extension(std::uint32_t code) { push_global("extension", fmt::format("{}", code)); }

  void push_call(Ref callable, Ref arguments) {
    if (value(callable).kind == Kind::global) {
      const std::string_view name = value(callable).text;
      if (name == "collections.OrderedDict" || name == "collections.defaultdict" ||
          name == "collections.Counter")
        return push(make({.kind = Kind::dict, .items = pairs_of_arguments(arguments)}));
    }
    push(make({.kind = Kind::call, .items = {callable, arguments}}));
  }

  /// OrderedDict([(key, value), ...]) or OrderedDict([[key, value], ...]), as Python 2 wrote it; other
  /// arguments (a defaultdict's factory) are passed over.
  std::vector<Ref> pairs_of_arguments(Ref arguments) {
    std::vector<Ref> items;
    if (value(arguments).items.empty()) return items;
    const Value& list = value(value(arguments).items.front());
    // One opcode copies many items here: keep the sum in proportion to the stream.
    copied_ += list.items.size();
    if (copied_ > bytes_.size()) refuse("the same items are copied into dicts again and again");
    if (list.kind == Kind::dict) return list.items;
    if (list.kind != Kind::list) return items;
    for (const Ref pair : list.items) {
      if (value(pair).items.size() != 2) refuse("an OrderedDict gets something other than pairs");
      items.insert(items.end(), value(pair).items.begin(), value(pair).items.end());
    }
    return items;
  }

  bool memo(unsigned char opcode) {
    switch (opcode) {
      case 'q':
        put(number<std::uint8_t>());
        return true;
      case 'r':
        put(number<std::uint32_t>());
        return true;
      case 'p':
        put(memo_index(line()));
        return true;
      case 0x94:
        put(memo_count_);
        return true;
      case 'h':
        get(number<std::uint8_t>());
        return true;
      case 'j':
        get(number<std::uint32_t>());
        return true;
      case 'g':
        get(memo_index(line()));
        return true;
      case 0x80: {
        const int protocol = number<std::uint8_t>();
        if (protocol > 5) refuse("protocol {} is unknown; 0 to 5 are read", protocol);
        return true;
      }
      case 0x95: {
        // A frame promises that many bytes; opcodes check the stream themselves.
        const auto length = number<std::uint64_t>();
        if (length > bytes_.size() - at_)
          refuse("a frame of {} bytes with {} left", length, bytes_.size() - at_);
        return true;
      }
      case 0x98:
        top();
        return true;  // READONLY_BUFFER
      case 0x97:
        refuse("data outside the stream (NEXT_BUFFER), which torch.save never writes");
      default:
        return false;
    }
  }

  std::uint64_t memo_index(std::string_view text) const {
    std::uint64_t index = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), index);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size())
      refuse("\"{}\" is no memo index", text.substr(0, 40));
    return index;
  }
  void put(std::uint64_t index) {
    // Writers count memo indices up from 0; an index far beyond is no reason for a table of that size.
    if (index >= kMaxObjects) refuse("memo index {}; up to {} are kept", index, kMaxObjects);
    if (index >= memo_.size()) memo_.resize(static_cast<std::size_t>(index) + 1, kNothing);
    memo_count_ += memo_[static_cast<std::size_t>(index)] == kNothing ? 1 : 0;
    memo_[static_cast<std::size_t>(index)] = top();
  }
  void get(std::uint64_t index) {
    if (index >= memo_.size() || memo_[static_cast<std::size_t>(index)] == kNothing)
      refuse("the memo has no value {}", index);
    push(memo_[static_cast<std::size_t>(index)]);
  }

  std::span<const std::byte> bytes_;
  const std::string& file_;
  std::uint64_t base_;
  std::size_t at_ = 0;
  std::size_t opcode_at_ = 0;
  std::size_t copied_ = 0;
  Document document_;
  std::vector<Ref> stack_;
  std::vector<std::size_t> marks_;
  std::vector<Ref> memo_;
  std::size_t memo_count_ = 0;
  std::map<std::string, Ref> globals_;
  Ref none_, false_, true_, empty_tuple_;
};

}  // namespace

Document read(std::span<const std::byte> bytes, const std::string& file, std::uint64_t base) {
  return Machine(bytes, file, base).run();
}

}  // namespace locant::pickle
