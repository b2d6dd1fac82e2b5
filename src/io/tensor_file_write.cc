#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/safetensors.h"
#include "io/tensor_file.h"

namespace locant {
namespace {

std::string quoted(const std::string& path, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail("safetensors", "{}: a name or metadata entry is not valid UTF-8 and cannot be written", path);
  }
}

/// The JSON header, padded with spaces so that the data begins at a multiple of 8 bytes, with the counts.
std::string header_of(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                      const std::map<std::string, std::string>& metadata, const Counts& counts) {
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    std::vector<std::string> pairs;
    for (const auto& [key, value] : metadata) pairs.push_back(quoted(path, key) + ":" + quoted(path, value));
    entries.push_back(fmt::format("\"__metadata__\":{{{}}}", fmt::join(pairs, ",")));
  }
  std::set<std::string> names;
  std::int64_t at = 0;
  const auto add = [&](const std::string& name, const char* dtype, const std::string& shape,
                       std::int64_t bytes) {
    require(name != "__metadata__", "safetensors", "{}: no tensor can be named __metadata__", path);
    require(names.insert(name).second, "safetensors", "{}: two tensors are named \"{}\"", path, name);
    entries.push_back(fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                                  quoted(path, name), dtype, shape, at, at + bytes));
    at += bytes;
  };
  for (const auto& entry : counts) add(entry.first, "I64", "", sizeof(std::int64_t));
  for (const auto& [name, tensor] : tensors) {
    require(tensor.defined(), "safetensors", "{}: tensor \"{}\" has no numbers to write", path, name);
    add(name, "F32", fmt::format("{}", fmt::join(tensor.shape().extents(), ",")), tensor.bytes());
  }
  std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
  header.resize((header.size() + 7) / 8 * 8, ' ');
  require(header.size() <= 100'000'000, "safetensors",
          "{}: names and metadata take {} bytes; the format allows 100 MB", path, header.size());
  return header;
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata, const Counts& counts) {
  write_file_atomically(path,
                        [&](ByteSink& sink) { write_safetensors(sink, path, tensors, metadata, counts); });
}

void write_safetensors(ByteSink& sink, const std::string& name,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata, const Counts& counts) {
  const std::string header = header_of(name, tensors, metadata, counts);
  const std::uint64_t length = header.size();
  sink.write(std::as_bytes(std::span(&length, 1)));
  sink.write(std::as_bytes(std::span(header)));
  for (const auto& entry : counts) sink.write(std::as_bytes(std::span(&entry.second, 1)));
  for (const auto& entry : tensors) sink.write(std::as_bytes(entry.second.values()));
}

}  // namespace locant
