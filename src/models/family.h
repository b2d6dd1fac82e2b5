#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "io/preprocess.h"
#include "models/all.h"
#include "models/hub.h"
#include "models/model.h"
#include "models/named_shapes.h"
#include "models/renames.h"

namespace locant {

/// A named variant of a model family.
struct ModelEntry {
  std::string name;                  ///< timm's, "swin_tiny_patch4_window7_224"
  std::vector<std::string> aliases;  ///< "swin_tiny", "swin_t"
  std::string family;
  std::string config;  ///< JSON object, what it sets of the family's configuration
  Preprocess preprocess;
  std::string note;         ///< one line for people
  std::string naming = {};  ///< whose checkpoints it was made for, where that is not open
  bool has_head = true;     ///< classifies
};

/// The same as a family's file writes it.
template <class Config>
struct Variant {
  std::string name;
  Config config;
  Preprocess preprocess = {};
  std::string note = {};
  std::vector<std::string> aliases = {};
  std::string naming = {};
};

/// A family's variants, made when they are first asked for.
template <class Config, auto kVariants>
const std::vector<Variant<Config>>& variants_of() {
  static const std::vector<Variant<Config>> all = []() -> std::vector<Variant<Config>> {
    if constexpr (!std::is_null_pointer_v<decltype(kVariants)>) return kVariants();
    return {};
  }();
  return all;
}

/// All that the rest asks of a model family. One constant a family, `kSwin`, at the end of its file, and one
/// line in all.h.
struct Family {
  const char* name;
  std::unique_ptr<Model> (*make)(const Family& family, const std::string& config, const Weights& weights);
  /// Named configurations; may be none (parts that other models are made of).
  std::vector<ModelEntry> (*variants)(const Family& family);
  /// Every naming that its checkpoints come in; our own first.
  std::vector<Renames> (*renames)();
  /// Its configuration: JSON object of all its fields, told from names and shapes, and from what `told` (JSON
  /// object of fields, "" for none) says where no shape does. Throws Error where the names and shapes are of
  /// another family. nullptr where shapes alone are never enough to know it (layers).
  std::string (*from_shapes)(const Family& family, NamedShapes shapes, const std::string& told);
  /// The first tensor that from_shapes asks for: where there is none of this name, it is no such file. Empty
  /// where there is no from_shapes.
  std::string (*anchor)(const Family& family);
  /// Prints of a configuration (JSON object of fields), which need not be one that can be built.
  ConfigPrint (*print)(const Family& family, const std::string& config);
  /// Those of its variant of this number, counted as `variants` does.
  const ConfigPrint& (*variant_print)(std::size_t variant);
  /// The same with what shapes say; nothing where from_shapes would throw.
  std::optional<ConfigPrint> (*sized_print)(NamedShapes shapes, std::size_t variant);
  /// The configuration that an empty one stands for, all its fields.
  std::string (*default_config)(const Family& family);
  /// A configuration (JSON object) with all fields, those of which only one value is built too.
  std::string (*complete_config)(const Family& family, const std::string& config);
  /// transformers' types whose folders are this family.
  std::vector<HubKeys> (*hub)();
  /// Keys that say how to call and are saved in no configuration: names of its inputs of kind option.
  std::vector<std::string> (*call_options)();
  /// Classes of a configuration.
  std::int64_t (*classes)(const Family& family, const std::string& config);
};

/// The family of a model class M: a constructor M(const Family&, Config, const Weights&), and a Config that
/// `fields` lists. Beside it a family's file gives, each nullptr where there is none:
///   std::vector<Variant<Config>> variants();
///   std::vector<Renames> renames();
///   void from_shapes(const NamedShapes& shapes, Config& config);
///   std::vector<HubKeys> hub();
template <class M, auto kVariants, auto kRenames = nullptr, auto kFromShapes = nullptr, auto kHub = nullptr>
constexpr Family family(const char* name) {
  using Config = typename M::Config;
  Family out{};
  out.name = name;
  out.make = [](const Family& family, const std::string& config,
                const Weights& weights) -> std::unique_ptr<Model> {
    return std::make_unique<M>(family, read_config<Config>(family.name, config), weights);
  };
  out.variants = [](const Family& family) {
    std::vector<ModelEntry> entries;
    if constexpr (!std::is_null_pointer_v<decltype(kVariants)>) {
      const Config unset{};
      ConfigWriter usual;
      fields(usual, unset);
      for (const Variant<Config>& v : variants_of<Config, kVariants>()) {
        ConfigWriter own;
        fields(own, v.config);
        entries.push_back({v.name, v.aliases, family.name, own.difference(usual), v.preprocess, v.note,
                           v.naming, M::classes_of(v.config) > 0});
      }
    }
    return entries;
  };
  out.renames = []() -> std::vector<Renames> {
    if constexpr (!std::is_null_pointer_v<decltype(kRenames)>) return kRenames();
    return {Renames{}};
  };
  if constexpr (!std::is_null_pointer_v<decltype(kFromShapes)>)
    out.from_shapes = [](const Family& family, NamedShapes shapes, const std::string& told) -> std::string {
      Config config = read_config<Config>(family.name, told);
      shapes.tell(config_keys(told));
      kFromShapes(shapes, config);
      const std::string text = write_config(config);
      read_config<Config>(family.name, text);  // shapes may say what cannot be
      return text;
    };
  out.anchor = [](const Family& family) -> std::string {
    const NamedShapes nothing(family.name, std::map<std::string, Shape>{});
    if constexpr (!std::is_null_pointer_v<decltype(kFromShapes)>) {
      Config config;
      try {
        kFromShapes(nothing, config);
      } catch (const Error&) {
      }
    }
    return nothing.missed();
  };
  out.print = [](const Family& family, const std::string& config) {
    Config read;
    ConfigReader reader(family.name, config);
    fields(reader, read);
    return print_of(read);
  };
  out.variant_print = [](std::size_t variant) -> const ConfigPrint& {
    static const std::vector<ConfigPrint> prints = [] {
      std::vector<ConfigPrint> all;
      for (const Variant<Config>& v : variants_of<Config, kVariants>()) all.push_back(print_of(v.config));
      return all;
    }();
    return prints.at(variant);
  };
  out.sized_print = [](NamedShapes shapes, std::size_t variant) -> std::optional<ConfigPrint> {
    static const std::set<std::string> keys = config_keys(write_config(Config{}));
    Config config = variants_of<Config, kVariants>().at(variant).config;
    shapes.tell(keys);
    if constexpr (!std::is_null_pointer_v<decltype(kFromShapes)>) {
      try {
        kFromShapes(shapes, config);
      } catch (const Error&) {
        return std::nullopt;
      }
    }
    return print_of(config);
  };
  out.default_config = [](const Family&) { return write_config(Config{}); };
  out.complete_config = [](const Family& family, const std::string& config) {
    return write_config(read_config<Config>(family.name, config), true);
  };
  out.hub = []() -> std::vector<HubKeys> {
    if constexpr (!std::is_null_pointer_v<decltype(kHub)>) return kHub();
    return {};
  };
  out.call_options = []() -> std::vector<std::string> {
    if constexpr (requires { M::call_options(); }) return M::call_options();
    return {};
  };
  out.classes = [](const Family& family, const std::string& config) {
    return M::classes_of(read_config<Config>(family.name, config));
  };
  return out;
}

#define LOCANT_DECLARE(family) extern const Family family;
LOCANT_FAMILIES(LOCANT_DECLARE)
#undef LOCANT_DECLARE

/// Every family, in the order of all.h.
const std::vector<const Family*>& families();
/// Throws Error that lists them.
const Family& find_family(const std::string& name);

/// A model of a family from its JSON configuration. Throws Error on an unknown key or value.
std::unique_ptr<Model> build_model(const Family& family, const std::string& config, const Weights& weights);

}  // namespace locant
