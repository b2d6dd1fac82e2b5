#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/error.h"
#include "io/dtype.h"

namespace locant {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kPreamble = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr const char* kMetadataKey = "__metadata__";

constexpr std::uint64_t kMaxNumel = std::uint64_t{1} << 60;
constexpr std::size_t kMaxAxes = 64;
constexpr std::size_t kMaxTypeName = 40;

struct Foreign {
  std::string_view name;
  std::uint64_t bits;
};
/// Types whose size is known, but whose numbers are not read.
constexpr Foreign kForeign[] = {{"U16", 16},        {"U32", 32},        {"U64", 64},    {"C64", 64},
                                {"C128", 128},      {"F8_E4M3", 8},     {"F8_E5M2", 8}, {"F8_E8M0", 8},
                                {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6},
                                {"F4", 4}};

/// Bits of one element; 0 for a type that nobody has heard of.
std::uint64_t bits_of(std::string_view type) {
  if (const std::optional<DType> dtype = parse_dtype(type))
    return 8 * static_cast<std::uint64_t>(dtype_size(*dtype));
  for (const Foreign& foreign : kForeign)
    if (foreign.name == type) return foreign.bits;
  return 0;
}

/// Characters of the header, telling how far the parser has read.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** reached = nullptr;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    ++at;
    if (reached != nullptr) *reached = at;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at == b.at; }
};

struct Entry {
  TensorInfo info;
  std::uint64_t begin = 0;  ///< within the data
  std::uint64_t end = 0;
};

/// Takes the header as events, so that nothing is nested deeper than the three levels the format has.
class HeaderReader final : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& name, const char* begin) : name_(name), begin_(begin), reached_(begin) {}

  const char** reached() { return &reached_; }
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  bool start_object(std::size_t) override {
    if (level_ == Level::outside) {
      level_ = Level::top;
    } else if (level_ == Level::top) {
      level_ = in_metadata_ ? Level::metadata : Level::tensor;
    } else {
      unexpected("an object");
    }
    return true;
  }
  bool end_object() override {
    if (level_ == Level::tensor) finish_tensor();
    level_ = level_ == Level::top ? Level::outside : Level::top;
    return true;
  }
  bool key(string_t& text) override {
    if (level_ == Level::top) {
      require_fresh(names_.insert(text).second, text);
      in_metadata_ = text == kMetadataKey;
      tensor_ = text;
      type_.reset();
      shape_.reset();
      offsets_.reset();
    } else if (level_ == Level::tensor) {
      const bool known = text == "dtype" || text == "shape" || text == "data_offsets";
      if (!known) refuse("has the unknown field \"{}\"", text);
      const bool given = text == "dtype"   ? type_.has_value()
                         : text == "shape" ? shape_.has_value()
                                           : offsets_.has_value();
      if (given) refuse("gives \"{}\" twice", text);
    } else if (level_ == Level::metadata) {
      require_fresh(metadata.find(text) == metadata.end(), text);
    }
    field_ = text;
    return true;
  }
  bool string(string_t& text) override {
    if (level_ == Level::metadata) {
      metadata.emplace(field_, text);
    } else if (level_ == Level::tensor && field_ == "dtype") {
      if (text.size() > kMaxTypeName) refuse("has a dtype of {} characters", text.size());
      type_ = text;
    } else {
      unexpected("a string");
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (level_ != Level::tensor || field_ == "dtype") unexpected("an array");
    level_ = Level::array;
    (field_ == "shape" ? shape_ : offsets_).emplace();
    return true;
  }
  bool end_array() override {
    level_ = Level::tensor;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != Level::array) unexpected("a number");
    std::vector<std::uint64_t>& list = field_ == "shape" ? *shape_ : *offsets_;
    const std::size_t limit = field_ == "shape" ? kMaxAxes : 2;
    if (list.size() == limit) refuse("has more than {} numbers in \"{}\"", limit, field_);
    list.push_back(value);
    return true;
  }
  bool number_integer(number_integer_t value) override {
    if (level_ != Level::array) unexpected("a number");
    refuse("has the negative number {} in \"{}\"", value, field_);
  }
  bool number_float(number_float_t, const string_t& text) override {
    if (level_ != Level::array) unexpected("a number");
    refuse("has {} in \"{}\", which is no 64-bit whole number", text.substr(0, 40), field_);
  }
  bool null() override {
    if (level_ != Level::top || !in_metadata_) unexpected("null");
    return true;  // some writers put it for no metadata
  }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool binary(binary_t&) override { unexpected("binary data"); }
  bool parse_error(std::size_t, const std::string&, const Json::exception& error) override {
    // nlohmann's text begins with its own tag in brackets.
    const std::string text = error.what();
    const std::size_t start = text.find("] ");
    fail("safetensors", "{}: byte {}: the header is no valid JSON: {}", name_, offset(),
         text.substr(start == std::string::npos ? 0 : start + 2, 200));
  }

 private:
  enum class Level { outside, top, tensor, metadata, array };

  std::uint64_t offset() const { return kPreamble + static_cast<std::uint64_t>(reached_ - begin_); }

  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail("safetensors", "{}: byte {}: tensor \"{}\" {}", name_, offset(), tensor_.substr(0, 200),
         fmt::format(format, std::forward<Args>(args)...));
  }
  [[noreturn]] void unexpected(const char* what) const {
    fail("safetensors", "{}: byte {}: the header has {} where \"{}\" wants {}", name_, offset(), what,
         field_.substr(0, 200), wanted());
  }
  const char* wanted() const {
    switch (level_) {
      case Level::outside:
        return "an object";
      case Level::top:
        return "an object with dtype, shape and data_offsets";
      case Level::metadata:
        return "a string";
      case Level::tensor:
        return field_ == "dtype" ? "a string" : "an array of whole numbers";
      case Level::array:
        return "whole numbers";
    }
    return "something else";
  }
  void require_fresh(bool fresh, const std::string& text) const {
    if (!fresh)
      fail("safetensors", "{}: byte {}: the name \"{}\" appears twice", name_, offset(), text.substr(0, 200));
  }

  void finish_tensor() {
    if (!type_) refuse("has no dtype");
    if (!shape_) refuse("has no shape");
    if (!offsets_ || offsets_->size() != 2) refuse("has no pair of data_offsets");
    const std::uint64_t begin = (*offsets_)[0], end = (*offsets_)[1];
    const std::uint64_t bits = bits_of(*type_);
    std::vector<std::int64_t> extents;
    std::uint64_t numel = 1, size = bits;
    for (const std::uint64_t extent : *shape_) {
      if (extent > kMaxNumel || __builtin_mul_overflow(numel, extent, &numel) || numel > kMaxNumel ||
          __builtin_mul_overflow(size, extent, &size))
        refuse("has a shape whose size overflows: [{}]", fmt::join(*shape_, ", "));
      extents.push_back(static_cast<std::int64_t>(extent));
    }
    if (size % 8 != 0)
      refuse("of {} [{}] takes {} bits, which is no whole number of bytes", *type_, fmt::join(*shape_, ", "),
             size);
    // What nobody has heard of is as long as it says.
    if (end < begin || (bits != 0 && end - begin != size / 8))
      refuse("of {} [{}] takes {} bytes, but its data_offsets are [{}, {}]", *type_, fmt::join(*shape_, ", "),
             size / 8, begin, end);
    TensorInfo info{tensor_, parse_dtype(*type_).value_or(DType::other), {}, end - begin};
    if (info.dtype == DType::other) info.type = *type_;
    if (extents.size() > static_cast<std::size_t>(Shape::kMaxRank)) {
      info.dtype = DType::other;
      info.type = fmt::format("{} with {} axes", *type_, extents.size());
    } else {
      info.shape = Shape(std::span<const std::int64_t>(extents));
    }
    entries.push_back({std::move(info), begin, end});
  }

  const std::string& name_;
  const char* begin_;
  const char* reached_;
  Level level_ = Level::outside;
  bool in_metadata_ = false;
  std::set<std::string> names_;
  std::string tensor_;  ///< the key of the top level that is being read
  std::string field_;   ///< the innermost key
  std::optional<std::string> type_;
  std::optional<std::vector<std::uint64_t>> shape_;
  std::optional<std::vector<std::uint64_t>> offsets_;
};

/// Orders the entries by their place and checks that they cover [0, data_bytes) without overlap or hole.
void check_cover(const std::string& name, std::vector<Entry>& entries, std::uint64_t data_bytes) {
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected)
      fail("safetensors", "{}: data byte {}: tensor \"{}\" begins at {}, which leaves {}", name, expected,
           entry.info.name.substr(0, 200), entry.begin, entry.begin < expected ? "an overlap" : "a hole");
    expected = entry.end;
  }
  if (expected != data_bytes)
    fail("safetensors", "{}: the tensors take {} bytes, but {} bytes of data follow the header{}", name,
         expected, data_bytes, expected > data_bytes ? " (is the file cut off?)" : "");
}

class SafetensorsFile final : public TensorFile {
 public:
  explicit SafetensorsFile(std::shared_ptr<const MappedFile> file) : file_(std::move(file)) {
    const std::string& name = file_->name();
    const std::span<const std::byte> bytes = file_->bytes();
    if (bytes.size() < kPreamble)
      fail("safetensors", "{}: byte {}: the file ends inside the 8-byte header length", name, bytes.size());
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > kMaxHeader)
      fail("safetensors", "{}: byte 0: header length {} is above the limit of {}", name, length, kMaxHeader);
    if (length > bytes.size() - kPreamble)
      fail("safetensors", "{}: byte 0: header length {} exceeds the {} bytes that follow it", name, length,
           bytes.size() - kPreamble);
    const char* header = reinterpret_cast<const char*>(bytes.data()) + kPreamble;
    if (length == 0 || *header != '{')
      fail("safetensors", "{}: byte 8: the header does not begin with '{{'", name);
    HeaderReader reader(name, header);
    Json::sax_parse(CountingIterator{header, reader.reached()}, CountingIterator{header + length, nullptr},
                    &reader);
    data_ = kPreamble + length;
    check_cover(name, reader.entries, bytes.size() - data_);
    metadata_ = std::move(reader.metadata);
    tensors_.reserve(reader.entries.size());
    for (Entry& entry : reader.entries) {
      index_.emplace(entry.info.name, Place{tensors_.size(), entry.begin});
      tensors_.push_back(std::move(entry.info));
    }
  }

  const std::string& path() const override { return file_->name(); }
  const std::string& format() const override {
    static const std::string kFormat = "safetensors";
    return kFormat;
  }
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const std::vector<std::string>& notes() const override { return notes_; }

  Tensor read(const std::string& name) const override {
    const Place place = place_of(name);
    const TensorInfo& info = tensors_[place.index];
    require_numbers("safetensors", file_->name(), info);
    return tensor_from_bytes(file_->bytes().subspan(data_ + place.begin, info.bytes), info.dtype, info.shape,
                             row_major_strides(info.shape), file_);
  }
  void release(const std::string& name) const override {
    const Place place = place_of(name);
    const std::uint64_t begin = data_ + place.begin;
    file_->release(begin, begin + tensors_[place.index].bytes);
  }

 private:
  struct Place {
    std::size_t index;
    std::uint64_t begin;
  };

  Place place_of(const std::string& name) const {
    const auto found = index_.find(name);
    if (found == index_.end()) fail("safetensors", "{}: there is no tensor \"{}\"", file_->name(), name);
    return found->second;
  }

  std::shared_ptr<const MappedFile> file_;
  std::uint64_t data_ = 0;  ///< where the data begins in the file
  std::vector<TensorInfo> tensors_;
  std::map<std::string, Place> index_;
  std::map<std::string, std::string> metadata_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<TensorFile> parse_safetensors(std::shared_ptr<const MappedFile> file) {
  return std::make_unique<SafetensorsFile>(std::move(file));
}

std::unique_ptr<TensorFile> parse_safetensors(std::span<const std::byte> bytes, const std::string& name) {
  return parse_safetensors(MappedFile::view(bytes, name));
}

}  // namespace locant
