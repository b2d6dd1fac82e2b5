#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/shape.h"
#include "core/tensor.h"
#include "io/tensor_file.h"

namespace locant {

/// Bytes of one element; 0 for DType::other.
std::int64_t dtype_size(DType dtype);
/// Throws the Error of `op` that a tensor of DType::other cannot be read.
void require_numbers(std::string_view op, const std::string& path, const TensorInfo& info);
/// The inverse of dtype_name; nothing for a name that is not ours.
std::optional<DType> parse_dtype(std::string_view name);

/// Element strides per axis; entries past the shape's rank are not read.
using Strides = std::array<std::int64_t, Shape::kMaxRank>;
Strides row_major_strides(const Shape& shape);
/// True when the strides are those of row-major order wherever they matter (extents above 1).
bool is_row_major(const Shape& shape, const Strides& strides);

/// out[i] = float32 of element i; little-endian input of any alignment. `bytes` holds exactly out.size()
/// elements. float64 and integers round to nearest; boolean is 0 or 1. Not for DType::other.
void convert_to_float(std::span<const std::byte> bytes, DType dtype, std::span<float> out);

/// A strided view of little-endian elements as a row-major float32 tensor: out[i, j, ...] = element
/// (i * strides[0] + j * strides[1] + ...). The caller has checked that every index lies within `bytes`.
/// With an owner, float32 data in row-major order and 4-byte aligned is borrowed, anything else copied.
Tensor tensor_from_bytes(std::span<const std::byte> bytes, DType dtype, const Shape& shape,
                         const Strides& strides, std::shared_ptr<const void> owner);

}  // namespace locant
