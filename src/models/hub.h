#pragma once

#include <string>
#include <utility>
#include <vector>

namespace locant {

struct Family;
struct ModelEntry;

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
};

/// What every transformers configuration of a plain transformer on patches says, and `more`.
std::vector<std::pair<std::string, std::string>> transformer_keys(
    std::vector<std::pair<std::string, std::string>> more);

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
