#include <charconv>
#include <cstdint>

#include "core/error.h"
#include "io/dtype.h"
#include "io/npz.h"

namespace locant {
namespace {

constexpr std::int64_t kMaxNpyNumel = std::int64_t{1} << 58;
constexpr std::size_t kMaxNpyAxes = 64;

struct NpyType {
  std::string_view descr;
  DType dtype;
};
constexpr NpyType kNpyTypes[] = {{"<f4", DType::f32}, {"<f2", DType::f16}, {"<f8", DType::f64},
                                 {"<i8", DType::i64}, {"<i4", DType::i32}, {"<i2", DType::i16},
                                 {"|i1", DType::i8},  {"|u1", DType::u8},  {"|b1", DType::boolean}};

/// The Python dict of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderText {
 public:
  HeaderText(std::string_view text, const std::string& place) : text_(text), place_(place) {}

  std::string descr;
  bool fortran = false;
  std::vector<std::int64_t> shape;
  std::int64_t numel = 1;

  void parse() {
    expect('{');
    bool have[3] = {false, false, false};
    while (peek() != '}') {
      const std::string_view key = quoted();
      expect(':');
      const int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : -1;
      if (which < 0 || have[which]) refuse("a header with an unknown or second key");
      have[which] = true;
      if (which == 0)
        read_descr();
      else if (which == 1)
        fortran = truth();
      else
        read_shape();
      if (peek() == ',') ++at_;
    }
    if (!have[0] || !have[1] || !have[2]) refuse("a header without descr, fortran_order or shape");
  }

 private:
  [[noreturn]] void refuse(const char* what) const { fail("npz", "{}: byte {}: {}", place_, at_, what); }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
    if (at_ == text_.size()) refuse("the header ends too early");
    return text_[at_];
  }
  void expect(char c) {
    if (peek() != c) refuse("the header is no Python dict of descr, fortran_order and shape");
    ++at_;
  }
  std::string_view quoted() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') refuse("the header has no quoted text where one is wanted");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("a text in the header does not end");
    const std::string_view out = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return out;
  }
  bool truth() {
    const bool yes = peek() == 'T';
    const std::string_view word = yes ? "True" : "False";
    if (text_.substr(at_, word.size()) != word) refuse("fortran_order is neither True nor False");
    at_ += word.size();
    return yes;
  }
  /// A text, or the list of a record's fields, which is passed over to its end.
  void read_descr() {
    if (peek() != '[') {
      descr = quoted().substr(0, 40);
      return;
    }
    descr = "a record";
    int depth = 0;
    do {
      const char c = peek();
      if (c == '\'' || c == '"') {
        quoted();
        continue;
      }
      depth += c == '[' ? 1 : c == ']' ? -1 : 0;
      ++at_;
    } while (depth > 0);
  }
  void read_shape() {
    expect('(');
    while (peek() != ')') {
      std::int64_t extent = 0;
      const auto [end, code] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), extent);
      if (code != std::errc() || extent < 0) refuse("an extent that is no whole number");
      if (shape.size() == kMaxNpyAxes || __builtin_mul_overflow(numel, extent, &numel) ||
          numel > kMaxNpyNumel)
        refuse("a shape whose size overflows");
      shape.push_back(extent);
      at_ = static_cast<std::size_t>(end - text_.data());
      if (peek() == ',') ++at_;
    }
    ++at_;
  }

  std::string_view text_;
  const std::string& place_;
  std::size_t at_ = 0;
};

std::size_t little_endian(std::string_view bytes) {
  std::size_t out = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) out = out << 8 | static_cast<unsigned char>(bytes[i]);
  return out;
}

}  // namespace

NpyHeader parse_npy_header(std::string_view front, const std::string& place) {
  require(front.size() >= 12 && front.substr(0, 6) == "\x93NUMPY", "npz", "{}: byte 0: is no .npy array",
          place);
  require(front[6] >= 1 && front[6] <= 3, "npz", "{}: byte 6: version {} of .npy; 1 to 3 are read", place,
          static_cast<int>(front[6]));
  const std::size_t length_bytes = front[6] == 1 ? 2 : 4;
  NpyHeader out;
  out.begin = 8 + length_bytes + little_endian(front.substr(8, length_bytes));
  require(out.begin <= front.size(), "npz", "{}: byte 8: a header up to byte {}; it may end at {}", place,
          out.begin, front.size());
  HeaderText header(front.substr(8 + length_bytes, out.begin - 8 - length_bytes), place);
  header.parse();
  out.info.dtype = DType::other;
  out.info.type = header.descr;
  for (const NpyType& type : kNpyTypes)
    if (type.descr == header.descr) out.info.dtype = type.dtype;
  out.info.bytes = static_cast<std::uint64_t>(header.numel * dtype_size(out.info.dtype));
  if (header.fortran && header.shape.size() > 1) {
    out.info.dtype = DType::other;
    out.info.type += " in Fortran order";
  }
  if (header.shape.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
    out.info.dtype = DType::other;
    out.info.type += fmt::format(" with {} axes", header.shape.size());
  } else {
    out.info.shape = Shape(std::span<const std::int64_t>(header.shape));
  }
  if (out.info.dtype != DType::other) out.info.type.clear();
  return out;
}

}  // namespace locant
