#include "io/dtype.h"

#include <bit>
#include <cstring>
#include <string>
#include <type_traits>

#include "core/error.h"

namespace locant {
namespace {

static_assert(std::endian::native == std::endian::little,
              "checkpoint data is little-endian and used as it lies");

struct Half {
  std::uint16_t bits;
};
struct BFloat16 {
  std::uint16_t bits;
};
struct Bool {
  std::uint8_t bits;
};

float to_float(Half x) {
  // The 15 lower bits shifted into float32's place are the number times 2^-112, subnormals included.
  const float magnitude = std::bit_cast<float>(static_cast<std::uint32_t>(x.bits & 0x7FFFu) << 13) * 0x1p112f;
  const std::uint32_t special = (x.bits & 0x7C00u) == 0x7C00u ? 0x7F800000u : 0u;
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | special | sign);
}
float to_float(BFloat16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }
float to_float(Bool x) { return x.bits != 0 ? 1.0f : 0.0f; }
template <class T>
requires std::is_arithmetic_v<T>
float to_float(T x) { return static_cast<float>(x); }

template <class T>
float load(const std::byte* at) {
  T x;
  std::memcpy(&x, at, sizeof x);
  return to_float(x);
}

/// Calls use(T()) with the C++ type of the elements.
template <class Use>
void with_type(DType dtype, const Use& use) {
  switch (dtype) {
    case DType::f32:
      return use(float());
    case DType::f16:
      return use(Half());
    case DType::bf16:
      return use(BFloat16());
    case DType::f64:
      return use(double());
    case DType::i64:
      return use(std::int64_t());
    case DType::i32:
      return use(std::int32_t());
    case DType::i16:
      return use(std::int16_t());
    case DType::i8:
      return use(std::int8_t());
    case DType::u8:
      return use(std::uint8_t());
    case DType::boolean:
      return use(Bool());
    case DType::other:
      fail("dtype", "numbers of a type that is not read cannot be converted");
  }
}

/// Walks the outer axes as an odometer and the last one as a loop; numel is above 0 and rank above 0.
template <class T>
void gather(const std::byte* base, const Shape& shape, const Strides& strides, float* out) {
  const int last = shape.rank() - 1;
  const std::int64_t columns = shape[last];
  const std::int64_t step = strides[static_cast<std::size_t>(last)] * static_cast<std::int64_t>(sizeof(T));
  std::array<std::int64_t, Shape::kMaxRank> index{};
  std::int64_t row = 0;
  for (;;) {
    const std::byte* at = base + row * static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t j = 0; j < columns; ++j) *out++ = load<T>(at + j * step);
    int axis = last - 1;
    for (; axis >= 0; --axis) {
      const auto a = static_cast<std::size_t>(axis);
      row += strides[a];
      if (++index[a] < shape[axis]) break;
      row -= strides[a] * shape[axis];
      index[a] = 0;
    }
    if (axis < 0) return;
  }
}

struct Name {
  DType dtype;
  std::string_view name;
  std::int64_t size;
};
constexpr Name kNames[] = {{DType::f32, "F32", 4},     {DType::f16, "F16", 2}, {DType::bf16, "BF16", 2},
                           {DType::f64, "F64", 8},     {DType::i64, "I64", 8}, {DType::i32, "I32", 4},
                           {DType::i16, "I16", 2},     {DType::i8, "I8", 1},   {DType::u8, "U8", 1},
                           {DType::boolean, "BOOL", 1}};

const Name& entry_of(DType dtype) {
  static constexpr Name kOther{DType::other, "OTHER", 0};
  for (const Name& entry : kNames)
    if (entry.dtype == dtype) return entry;
  return kOther;
}

}  // namespace

std::string dtype_name(DType dtype) { return std::string(entry_of(dtype).name); }

std::string dtype_name(const TensorInfo& info) {
  return info.dtype == DType::other ? info.type : dtype_name(info.dtype);
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

void require_numbers(std::string_view op, const std::string& path, const TensorInfo& info) {
  if (info.dtype == DType::other)
    fail(op, "{}: tensor \"{}\" is {}, whose numbers are not read; save it as a plain float32 tensor", path,
         info.name.substr(0, 200), info.type);
}

std::int64_t dtype_size(DType dtype) { return entry_of(dtype).size; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (const Name& entry : kNames)
    if (entry.name == name) return entry.dtype;
  return std::nullopt;
}

Strides row_major_strides(const Shape& shape) {
  Strides strides{};
  if (shape.numel() == 0)
    return strides;  // extents beside the zero may be anything: their products may overflow
  std::int64_t step = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = step;
    step *= shape[axis];
  }
  return strides;
}

bool is_row_major(const Shape& shape, const Strides& strides) {
  if (shape.numel() == 0) return true;
  const Strides expected = row_major_strides(shape);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const auto a = static_cast<std::size_t>(axis);
    if (shape[axis] > 1 && strides[a] != expected[a]) return false;
  }
  return true;
}

void convert_to_float(std::span<const std::byte> bytes, DType dtype, std::span<float> out) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    const std::byte* at = bytes.data();
    if constexpr (std::is_same_v<T, float>) {
      if (!out.empty()) std::memcpy(out.data(), at, out.size_bytes());
    } else {
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = load<T>(at + i * sizeof(T));
    }
  });
}

Tensor tensor_from_bytes(std::span<const std::byte> bytes, DType dtype, const Shape& shape,
                         const Strides& strides, std::shared_ptr<const void> owner) {
  const bool row_major = is_row_major(shape, strides);
  const bool aligned = reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) == 0;
  if (dtype == DType::f32 && row_major && owner && aligned && shape.numel() > 0)
    return Tensor::borrowed(shape, reinterpret_cast<const float*>(bytes.data()), std::move(owner));
  Tensor out(shape);
  if (row_major) {
    const auto used = static_cast<std::size_t>(shape.numel() * dtype_size(dtype));
    convert_to_float(bytes.first(used), dtype, out.values());
  } else {
    with_type(dtype, [&](auto type) { gather<decltype(type)>(bytes.data(), shape, strides, out.data()); });
  }
  return out;
}

}  // namespace locant
