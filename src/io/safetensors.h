#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "io/tensor_file.h"

namespace locant {

/// The safetensors format: 8 bytes of header length, a JSON header that names every tensor's dtype, shape and
/// byte range, then the data. Everything is checked before anything is believed: length, JSON, fields,
/// shapes, and that the ranges follow one another without overlap or hole and cover the data exactly. Types
/// that are not computed with, known or not, and shapes above Shape::kMaxRank axes are listed as
/// DType::other. Throws Error with the file's name, the byte offset and the reason. float32 data that lies
/// aligned is borrowed from the file's memory; release(name) lets the whole pages inside that tensor go. See
/// MappedFile for what happens when a mapped file is truncated meanwhile.
std::unique_ptr<TensorFile> parse_safetensors(std::shared_ptr<const MappedFile> file);
/// The same for bytes in memory, which outlive the result and what is borrowed from it.
std::unique_ptr<TensorFile> parse_safetensors(std::span<const std::byte> bytes, const std::string& name);

/// What write_safetensors (io/tensor_file.h) writes, into a sink. `name` stands in errors. Throws Error.
void write_safetensors(ByteSink& sink, const std::string& name,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {}, const Counts& counts = {});

}  // namespace locant
