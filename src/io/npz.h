#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "io/mapped_file.h"
#include "io/tensor_file.h"

namespace locant {

/// True for a zip archive whose first entry is an .npy.
bool is_npz(std::span<const std::byte> bytes);

/// What numpy.savez writes, as the published files of ViT: a zip archive of arrays, each under its name
/// without
/// ".npy" ("Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"). Little-endian arrays in row-major order
/// are read; others (Fortran order, complex, objects) are listed as DType::other. Throws Error with file and
/// entry for anything malformed. One array at a time is in memory besides the tensors handed out.
std::unique_ptr<TensorFile> parse_npz(std::shared_ptr<const MappedFile> file);
/// The same for bytes in memory, which outlive the result.
std::unique_ptr<TensorFile> parse_npz(std::span<const std::byte> bytes, const std::string& name);

/// The header of an .npy: which type and shape, and where its numbers begin.
struct NpyHeader {
  TensorInfo info;  ///< without name
  std::size_t begin = 0;
};
/// Reads it from the front of an entry; `place` stands in errors. Throws Error.
NpyHeader parse_npy_header(std::string_view front, const std::string& place);

}  // namespace locant
