#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace locant {

/// Two sides (rows, columns). In JSON a list of two, or one number for both.
struct Pair {
  std::int64_t rows = 0, columns = 0;
  friend bool operator==(const Pair& a, const Pair& b) { return a.rows == b.rows && a.columns == b.columns; }
};

/// What the numbers of a field may be; of a list or a pair, each of them.
struct FieldRange {
  double low = 0.0, high = 0.0;
  bool without_low = false, without_high = false;
};
/// low to high, both included.
constexpr FieldRange range(double low, double high) { return {low, high}; }
constexpr FieldRange at_least(double low) { return {low, 1 << 20}; }
/// Between 0 and `high`, both excluded.
constexpr FieldRange below(double high) { return {0.0, high, true, true}; }
/// [0, 1): how often something is dropped.
constexpr FieldRange rate() { return {0.0, 1.0, false, true}; }
struct FieldDivisor {
  std::int64_t by = 1;
  const char* what = "";
};
/// The field is at least 1 and a whole number of times `by`; `what` says of what: "heads".
constexpr FieldDivisor divisible_by(std::int64_t by, const char* what) { return {by, what}; }

/// Reads the fields of a configuration from a JSON object. A model's file lists its fields once, in a
/// template `fields(archive, config)`, that serves ConfigReader and ConfigWriter alike. An absent key leaves
/// the default. Every method throws Error ("[FAMILY] ...") on a wrong type; counts must be whole and 0 to
/// 2^20 (Pair, lists too). The key `naming` (whose names a file had) is known to all and read by none.
class ConfigReader {
 public:
  /// Throws Error unless `text` is a JSON object; empty text is an empty object.
  ConfigReader(std::string family, const std::string& text);
  ~ConfigReader();

  /// A field whose value, given or default, must keep to a rule: FieldRange or FieldDivisor.
  template <class T, class Rule>
  void field(const char* key, T& value, const Rule& rule) {
    field(key, value);
    hold(key, value, rule);
  }
  /// A field that is one of the enumeration's names, in the order of its values from 0 on.
  template <class E>
  void choice(const char* key, E& value, std::initializer_list<const char*> names) {
    value = static_cast<E>(choose(key, static_cast<std::size_t>(value), names));
  }
  /// A configuration within: a JSON object, kept as text.
  void object(const char* key, std::string& json);

  void field(const char* key, std::int64_t& value);
  void field(const char* key, double& value);
  void field(const char* key, float& value);
  void field(const char* key, bool& value);
  void field(const char* key, std::string& value);
  void field(const char* key, Pair& value);
  void field(const char* key, std::vector<std::int64_t>& value);
  void field(const char* key, std::vector<double>& value);
  void field(const char* key, std::vector<bool>& value);
  void field(const char* key, std::vector<std::string>& value);
  void field(const char* key, std::vector<Pair>& value);
  /// A key of which only one value is built, of any type that field() takes; anything else is an Error that
  /// says so. Not written by ConfigWriter.
  template <class T>
  void only(const char* key, const T& supported);
  /// Throws Error that names the keys nobody asked for, each with the nearest known one.
  void finish() const;

 private:
  std::size_t choose(const char* key, std::size_t value, std::initializer_list<const char*> names);
  void hold(const char* key, double value, const FieldRange& rule) const;
  void hold(const char* key, double value, const FieldDivisor& rule) const;
  template <class Rule>
  void hold(const char* key, std::int64_t value, const Rule& rule) const {
    hold(key, static_cast<double>(value), rule);
  }
  template <class Rule>
  void hold(const char* key, const Pair& value, const Rule& rule) const {
    hold(key, value.rows, rule);
    hold(key, value.columns, rule);
  }
  template <class Rule>
  void hold(const char* key, const std::vector<std::int64_t>& values, const Rule& rule) const {
    for (const std::int64_t value : values) hold(key, value, rule);
  }
  template <class Rule>
  void hold(const char* key, const std::vector<double>& values, const Rule& rule) const {
    for (const double value : values) hold(key, value, rule);
  }
  /// `supported`: a JSON object that holds the key alone.
  void only_json(const char* key, const std::string& supported);
  struct State;
  std::unique_ptr<State> state_;
};

/// Writes the same fields as a JSON object, in the order of the calls.
class ConfigWriter {
 public:
  /// `with_only`: what only() supports is written too.
  explicit ConfigWriter(bool with_only = false);
  ~ConfigWriter();
  void field(const char* key, std::int64_t value);
  void field(const char* key, double value);
  void field(const char* key, float value);
  void field(const char* key, bool value);
  void field(const char* key, const std::string& value);
  void field(const char* key, const Pair& value);
  void field(const char* key, const char* value) { field(key, std::string(value)); }
  void field(const char* key, const std::vector<std::int64_t>& value);
  void field(const char* key, const std::vector<double>& value);
  void field(const char* key, const std::vector<bool>& value);
  void field(const char* key, const std::vector<std::string>& value);
  void field(const char* key, const std::vector<Pair>& value);
  template <class T, class Rule>
  void field(const char* key, const T& value, const Rule&) {
    field(key, value);
  }
  template <class E>
  void choice(const char* key, E value, std::initializer_list<const char*> names) {
    field(key, std::string(names.begin()[static_cast<std::size_t>(value)]));
  }
  void object(const char* key, const std::string& json);
  template <class T>
  void only(const char* key, const T& supported) {
    if (with_only_) field(key, supported);
  }
  std::string str() const;
  /// What was written here otherwise than to `base`.
  std::string difference(const ConfigWriter& base) const;

 private:
  bool with_only_;
  struct State;
  std::unique_ptr<State> state_;
};

/// The same fields, a hash of each value: enough to compare configurations, hundreds of times faster than
/// their JSON.
class ConfigPrint {
 public:
  void field(const char* key, std::int64_t value) { add(key, hash(value)); }
  void field(const char* key, double value) { add(key, hash(value)); }
  void field(const char* key, float value) { add(key, hash(static_cast<double>(value))); }
  void field(const char* key, bool value) { add(key, hash(value)); }
  void field(const char* key, const std::string& value) { add(key, hash(value)); }
  void field(const char* key, const char* value) { add(key, hash(std::string(value))); }
  void field(const char* key, const Pair& value) { add(key, hash(value)); }
  template <class T>
  void field(const char* key, const std::vector<T>& values) {
    std::uint64_t all = values.size();
    for (const T& value : values) all = mix(all, hash(value));
    add(key, all);
  }
  template <class T, class Rule>
  void field(const char* key, const T& value, const Rule&) {
    field(key, value);
  }
  template <class E>
  void choice(const char* key, E value, std::initializer_list<const char*>) {
    field(key, static_cast<std::int64_t>(value));
  }
  void object(const char* key, const std::string& json);
  template <class T>
  void only(const char*, const T&) {}

  /// The keys here whose values `base` has otherwise, or not.
  std::vector<std::string_view> difference(const ConfigPrint& base) const;
  /// The hash of a field; 0 where there is no such key.
  std::uint64_t at(std::string_view key) const;

 private:
  struct Field {
    std::string_view key;  // a literal in a family's file
    std::uint64_t value;
  };
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b);
  static std::uint64_t hash(std::int64_t value) { return mix(1, static_cast<std::uint64_t>(value)); }
  static std::uint64_t hash(bool value) { return hash(std::int64_t{value}); }
  static std::uint64_t hash(double value);
  static std::uint64_t hash(const std::string& value);
  static std::uint64_t hash(const Pair& value) { return mix(hash(value.rows), hash(value.columns)); }
  void add(const char* key, std::uint64_t value) { fields_.push_back({key, value}); }

  std::vector<Field> fields_;
};

template <class T>
void ConfigReader::only(const char* key, const T& supported) {
  ConfigWriter writer;
  writer.field(key, supported);
  only_json(key, writer.str());
}

/// Throws Error under `op` that gives the lengths, unless all lists have as many entries:
/// same_length(op, {{"dims", c.dims.size()}, {"depths", c.depths.size()}}).
void same_length(std::string_view op, std::initializer_list<std::pair<const char*, std::size_t>> lists);

/// For a second configuration in one file: `template <class Archive, ConfigIs<GpsaConfig> Config> void
/// fields(...)`.
template <class T, class Config>
concept ConfigIs = std::is_same_v<std::remove_const_t<T>, Config>;

/// A configuration as it stands, all its fields; `with_only`: those of which one value is built, too.
template <class Config>
std::string write_config(const Config& config, bool with_only = false) {
  ConfigWriter writer(with_only);
  fields(writer, config);
  return writer.str();
}

template <class Config>
ConfigPrint print_of(const Config& config) {
  ConfigPrint print;
  fields(print, config);
  return print;
}

/// A configuration of a family from its JSON object; `check(op, config)` beside it, where there is one, sees
/// what no single field can, and `tidy(config)` gives one spelling to what several mean. Throws Error on an
/// unknown key or a value that cannot be.
template <class Config>
Config read_config(const std::string& op, const std::string& json) {
  Config config;
  ConfigReader reader(op, json);
  fields(reader, config);
  reader.finish();
  if constexpr (requires { check(op, config); }) check(op, config);
  if constexpr (requires { tidy(config); }) tidy(config);
  return config;
}

/// The keys of a JSON object; of "" none.
std::set<std::string> config_keys(const std::string& config);
/// What `config` says otherwise than `base`; both JSON objects.
std::string config_difference(const std::string& base, const std::string& config);
/// `base` with the keys of `overrides` replaced or added; both JSON objects.
std::string merge_config(const std::string& base, const std::string& overrides);

/// Number of single-character edits (insert, delete, replace) between two names.
std::size_t edit_distance(std::string_view a, std::string_view b);
/// Up to `count` candidates nearest to `name`, nearest first.
std::vector<std::string> nearest_names(std::string_view name, const std::vector<std::string>& candidates,
                                       std::size_t count);

}  // namespace locant
