#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "io/sharded.h"

namespace locant {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxShards = 4096;
constexpr std::size_t kMaxName = 255;
constexpr const char* kMap = "weight_map";

/// Takes the index as events: keys that come twice are seen, and what stands beside the map takes no memory.
class IndexReader final : public nlohmann::json_sax<Json> {
 public:
  explicit IndexReader(const std::string& path) : path_(path) {}

  std::map<std::string, std::string> map;
  bool found = false;

  bool start_object(std::size_t) override {
    if (depth_ == 1 && in_map_) found = true;
    return enter("an object", depth_ == 0 || depth_ == 1);
  }
  bool start_array(std::size_t) override { return enter("an array", false); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      in_map_ = text == kMap;
      if (in_map_ && found) refuse("\"{}\" appears twice", kMap);
    } else if (depth_ == 2 && in_map_) {
      tensor_ = text;
    }
    return true;
  }
  bool string(string_t& text) override {
    if (!in_map_) return scalar("a string");
    if (depth_ == 1) refuse("\"{}\" is a string where an object is wanted", kMap);
    check_name(text);
    if (!map.emplace(tensor_, text).second) refuse("tensor \"{}\" appears twice", tensor_.substr(0, 200));
    return true;
  }
  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a truth value"); }
  bool number_integer(number_integer_t) override { return scalar("a number"); }
  bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
  bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
  bool binary(binary_t&) override { return scalar("binary data"); }
  bool parse_error(std::size_t at, const std::string&, const Json::exception&) override {
    fail(ErrorKind::file, "weights",
         "{}: byte {}: no valid JSON: the index is damaged or cut off; fetch it again", path_, at);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorKind::file, "weights", "{}: {}", path_, fmt::format(format, std::forward<Args>(args)...));
  }
  bool enter(const char* what, bool wanted) {
    if (depth_ == 0 && !wanted) refuse("is {} where an object is wanted", what);
    if (in_map_ && !wanted) refuse("\"{}\" has {} where names are wanted", kMap, what);
    ++depth_;
    return true;
  }
  bool leave() {
    if (--depth_ == 1) in_map_ = false;
    return true;
  }
  bool scalar(const char* what) const {
    if (depth_ == 0) refuse("is {} where an object is wanted", what);
    if (in_map_) refuse("\"{}\" has {} where names are wanted", kMap, what);
    return true;
  }
  void check_name(const std::string& name) const {
    const bool plain = !name.empty() && name != "." && name != ".." && name.size() <= kMaxName &&
                       name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    if (!plain)
      refuse("tensor \"{}\" is said to be in \"{}\", which is no name of a file beside the index",
             tensor_.substr(0, 200), name.substr(0, 200));
  }

  const std::string& path_;
  std::size_t depth_ = 0;
  bool in_map_ = false;
  std::string tensor_;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view text, const std::string& path) {
  IndexReader reader(path);
  Json::sax_parse(text.begin(), text.end(), &reader);
  require(reader.found, ErrorKind::file, "weights", "{}: has no \"{}\": it is no index of shards", path,
          kMap);
  require(!reader.map.empty(), ErrorKind::file, "weights", "{}: its \"{}\" names no tensors", path, kMap);
  std::map<std::string_view, std::size_t> numbers;
  for (const auto& [tensor, shard] : reader.map) numbers.emplace(shard, 0);
  require(numbers.size() <= kMaxShards, ErrorKind::file, "weights", "{}: names {} shards; up to {} are read",
          path, numbers.size(), kMaxShards);
  ShardIndex out;
  for (auto& [shard, number] : numbers) {
    number = out.shards.size();
    out.shards.emplace_back(shard);
  }
  for (const auto& [tensor, shard] : reader.map) out.tensors.emplace_back(tensor, numbers.at(shard));
  return out;
}

}  // namespace locant
