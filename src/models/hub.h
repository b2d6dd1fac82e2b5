#pragma once

#include <string>
#include <utility>
#include <vector>

namespace locant {

/// How a transformers config.json says what a family's configuration says.
struct HubKeys {
  std::string model_type;  ///< "swinv2"
  /// Its key, our field.
  std::vector<std::pair<std::string, std::string>> keys = {};
  /// Our fields that its class fixes; JSON object.
  std::string fixed = "{}";
  /// Its keys with defaults that it leaves out; JSON object.
  std::string defaults = "{}";
};

/// What every transformers configuration of a plain transformer on patches says, and `more`.
std::vector<std::pair<std::string, std::string>> transformer_keys(
    std::vector<std::pair<std::string, std::string>> more);

/// Our configuration (JSON object) of a config.json of this type. Throws Error when the text is no JSON
/// object.
std::string from_hub(const HubKeys& hub, const std::string& config_json);

}  // namespace locant
