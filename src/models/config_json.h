#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace locant {

/// Two sides (rows, columns). In JSON a list of two, or one number for both.
struct Pair {
  std::int64_t rows = 0, columns = 0;
  friend bool operator==(const Pair& a, const Pair& b) { return a.rows == b.rows && a.columns == b.columns; }
};

/// Reads the fields of a configuration from a JSON object. A model's file lists its fields once, in a
/// template `fields(archive, config)`, that serves ConfigReader and ConfigWriter alike. An absent key leaves
/// the default. Every method throws Error ("[FAMILY] ...") on a wrong type; counts must be whole and 0 to
/// 2^20 (Pair, lists too).
class ConfigReader {
 public:
  /// Throws Error unless `text` is a JSON object; empty text is an empty object.
  ConfigReader(std::string family, const std::string& text);
  ~ConfigReader();

  void field(const char* key, std::int64_t& value);
  void field(const char* key, double& value);
  void field(const char* key, float& value);
  void field(const char* key, bool& value);
  void field(const char* key, std::string& value);
  void field(const char* key, Pair& value);
  void field(const char* key, std::vector<std::int64_t>& value);
  void field(const char* key, std::vector<std::string>& value);
  /// A key of which only one value is built; anything else is an Error that says so. Not written by
  /// ConfigWriter.
  void only(const char* key, std::string_view supported);
  void only(const char* key, const char* supported) { only(key, std::string_view(supported)); }
  void only(const char* key, bool supported);
  void only(const char* key, const std::vector<std::string>& supported);
  bool has(const char* key) const;
  /// Throws Error that names the keys nobody asked for, each with the nearest known one.
  void finish() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes the same fields as a JSON object, in the order of the calls.
class ConfigWriter {
 public:
  ConfigWriter();
  ~ConfigWriter();
  void field(const char* key, std::int64_t value);
  void field(const char* key, double value);
  void field(const char* key, float value);
  void field(const char* key, bool value);
  void field(const char* key, const std::string& value);
  void field(const char* key, const Pair& value);
  void field(const char* key, const std::vector<std::int64_t>& value);
  void field(const char* key, const std::vector<std::string>& value);
  template <class T>
  void only(const char*, const T&) {}
  std::string str() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What every plain transformer on patches has, for `fields`.
template <class Archive, class Config>
void transformer_fields(Archive& archive, Config& c) {
  archive.field("img_size", c.img_size);
  archive.field("patch_size", c.patch_size);
  archive.field("in_chans", c.in_chans);
  archive.field("dim", c.dim);
  archive.field("depth", c.depth);
  archive.field("heads", c.heads);
}

/// `base` with the keys of `overrides` replaced or added; both JSON objects.
std::string merge_config(const std::string& base, const std::string& overrides);

/// Number of single-character edits (insert, delete, replace) between two names.
std::size_t edit_distance(std::string_view a, std::string_view b);
/// Up to `count` candidates nearest to `name`, nearest first.
std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates,
                                       std::size_t count);

}  // namespace locant
