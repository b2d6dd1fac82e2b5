#pragma once

#include <string>
#include <utility>
#include <vector>

namespace locant {

struct Family;
struct ModelEntry;

/// What it takes to write a folder of a model type, beside the keys that are read.
struct HubClass {
  std::string name;  ///< what its classes' names begin with: "Swinv2"; empty: its folders are read alone
  std::string constants = "{}";  ///< keys that no field of ours says; JSON object
  std::string has = "{}";  ///< our fields that it fixes, where they are not the family's default; JSON object
  std::vector<std::string> whole = {};   ///< its keys that are whole numbers where our field need not be
  std::vector<std::string> lacks = {};   ///< keys that are read of other types or releases, and not written
  std::vector<std::string> says = {};    ///< our fields that `more` says, or refuses
  std::vector<std::string> untold = {};  ///< our fields that it is not told, and that decide no answer
  std::vector<std::string> outside =
      {};  ///< glob patterns of its names that have no prefix, but for the heads
  /// Keys that need more than one field: JSON object, of the configuration (JSON object, all fields and what
  /// only one value is built of). Throws Error that names the field for what the class, "transformers'
  /// SwinModel", cannot be told.
  std::string (*more)(const std::string& target, const std::string& config) = nullptr;
};

/// Throws Error that names the field for what a library's class cannot be told: `target` as in
/// "transformers' SwinModel", `said` as in "window [7,8]", `why` as in "its windows are square".
void require_told(bool can_be, const std::string& target, const std::string& said, const std::string& why);

/// How a transformers config.json says what a family's configuration says.
struct HubKeys {
  std::string model_type;  ///< "swinv2"
  /// Its key, our field.
  std::vector<std::pair<std::string, std::string>> keys = {};
  /// Our fields that its class fixes; JSON object.
  std::string fixed = "{}";
  /// Its keys with defaults that it leaves out; JSON object.
  std::string defaults = "{}";
  /// Values that have other words here: {"qkv_bias", "true", "\"full\""}; JSON on both sides.
  struct Value {
    std::string key, theirs, ours;
  };
  std::vector<Value> values = {};
  /// Keys that say nothing of what is computed here.
  std::vector<std::string> inert = {};
  /// Its keys that say for each stage what we say once for all: [3, 3, 3] is 3.
  std::vector<std::string> in_every_stage = {};
  HubClass written = {};
};

/// What every transformers configuration of a plain transformer on patches says, and `more`.
std::vector<std::pair<std::string, std::string>> transformer_keys(
    std::vector<std::pair<std::string, std::string>> more);

/// HubClass::more of a pyramid of `depths` whose stages have `dim` channels, and twice those of the one
/// before.
std::string pyramid_widths(const std::string& target, const std::string& config);

/// Our configuration (JSON object) of a config.json of this type. Throws Error when the text is no JSON
/// object.
std::string from_hub(const HubKeys& hub, const std::string& config_json);

/// What a config.json says: transformers' (model_type), timm's (architecture), or timm's within
/// transformers.
struct HubConfig {
  /// What the numbers of the head are: one class of several, each class yes or no, values.
  enum class Answer { one_class, each_class, values };
  std::string model_type;             ///< "swinv2", or timm's architecture
  const Family* family = nullptr;     ///< nullptr: only the tensors can tell
  const ModelEntry* entry = nullptr;  ///< timm's architecture, where it is registered
  std::string config;                 ///< fields of the family's configuration; JSON object
  std::string base;                   ///< those of `entry`, which tensors and `config` may change
  std::vector<std::string> classes;   ///< by index; empty where they have no names
  Answer answer = Answer::one_class;
  std::string pretrained_cfg;      ///< timm's description of the preprocessing; JSON object, may be empty
  std::vector<std::string> notes;  ///< lines for people
};

/// Throws Error for text that is no JSON object, for models that Locant has not, and for values that its
/// families do not build.
HubConfig read_hub_config(const std::string& config_json);

}  // namespace locant
