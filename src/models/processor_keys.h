#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace locant {

/// An image processor of transformers.
struct ProcessorClass {
  const char* name;  ///< "Bit" of BitImageProcessor
  /// plain: the keys say all. levit: "shortest_edge" s means int(256 / 224 s). convnext: crops inside its
  /// resize. floats: resizes numbers and not bytes. own: the model has its own preprocessing.
  enum class Rules { plain, levit, convnext, floats, own } rules;
  bool square;           ///< "size": n means n x n, and not the short side
  bool crops;            ///< in every release that has it
  const char* defaults;  ///< JSON object: its keys where they are not every class's
};

/// "BitImageProcessor", "BitImageProcessorFast", "BitImageProcessorPil", "BitFeatureExtractor"; nullptr: none
/// that is known.
const ProcessorClass* find_processor_class(std::string_view type);
/// What transformers takes for a model type; nullptr: not known here.
const ProcessorClass* processor_class_of_model(std::string_view model_type);
/// Every key that a file of this class may leave out, with its default.
nlohmann::json processor_defaults(const ProcessorClass& kind);

/// Readers of untrusted values. Each throws Error that names the key.
nlohmann::json processor_object(const std::string& text);
bool processor_bool(const nlohmann::json& object, const char* key);
double processor_number(const nlohmann::json& value, const std::string& key);
/// A side in pixels: 1 to 16384.
std::int64_t processor_side(const nlohmann::json& value, const std::string& key);
/// mean or std: a number for all channels, a list of one, or one a channel. Another count than `channels`
/// gives their average with a note.
std::vector<float> processor_numbers(const nlohmann::json& value, const std::string& key,
                                     std::int64_t channels, std::vector<std::string>& notes);
/// A key or value of a file for a message: ASCII, in quotes, short.
std::string processor_shown(const nlohmann::json& value);

}  // namespace locant
