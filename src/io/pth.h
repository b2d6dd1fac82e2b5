#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "io/mapped_file.h"
#include "io/tensor_file.h"

namespace locant {

/// What torch.save writes (.pth, .pt, .bin): the zip form and the older form, told apart by content. The
/// pickle is read by a machine that executes nothing (io/pickle.h); which tensors are found and how they are
/// named stands in io/pth_contents.h. Tensors may be strided and share storages.
/// Throws Error with file, place (byte, or archive entry) and reason. At most one storage at a time is in
/// memory besides the tensors handed out; read() of the older form borrows aligned float32 data from the map.
std::unique_ptr<TensorFile> parse_pth(std::shared_ptr<const MappedFile> file);
/// The same for bytes in memory, which outlive the result and what is borrowed from it.
std::unique_ptr<TensorFile> parse_pth(std::span<const std::byte> bytes, const std::string& name);

/// True when the bytes begin as a zip archive, or as a pickle.
bool is_zip(std::span<const std::byte> bytes);
bool is_pickle(std::span<const std::byte> bytes);

}  // namespace locant
