#pragma once

#include <cstdint>
#include <memory>
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
  /// False where from_shapes would throw for its variant of this number, counted as `variants` does; a quick
  /// look.
  bool (*may_be)(NamedShapes shapes, std::size_t variant);
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
      const std::string usual = write_config(Config{});
      for (Variant<Config>& v : kVariants())
        entries.push_back({std::move(v.name), std::move(v.aliases), family.name,
                           config_difference(usual, write_config(v.config)), v.preprocess, std::move(v.note),
                           std::move(v.naming), M::classes_of(v.config) > 0});
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
  out.may_be = [](NamedShapes shapes, std::size_t variant) {
    if constexpr (!std::is_null_pointer_v<decltype(kVariants)> &&
                  !std::is_null_pointer_v<decltype(kFromShapes)>) {
      static const auto all = kVariants();
      static const std::set<std::string> keys = config_keys(write_config(Config{}));
      Config config = all.at(variant).config;
      shapes.tell(keys);
      try {
        kFromShapes(shapes, config);
      } catch (const Error&) {
        return false;
      }
    }
    return true;
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
