#include "io/pth_types.h"

namespace locant {
namespace {

constexpr PthType kPthTypes[] = {
    {"FloatStorage", "torch.float32", 4, DType::f32},
    {"HalfStorage", "torch.float16", 2, DType::f16},
    {"BFloat16Storage", "torch.bfloat16", 2, DType::bf16},
    {"DoubleStorage", "torch.float64", 8, DType::f64},
    {"LongStorage", "torch.int64", 8, DType::i64},
    {"IntStorage", "torch.int32", 4, DType::i32},
    {"ShortStorage", "torch.int16", 2, DType::i16},
    {"CharStorage", "torch.int8", 1, DType::i8},
    {"ByteStorage", "torch.uint8", 1, DType::u8},
    {"BoolStorage", "torch.bool", 1, DType::boolean},
    {"UntypedStorage", "", 1},
    {"ComplexFloatStorage", "torch.complex64", 8},
    {"ComplexDoubleStorage", "torch.complex128", 16},
    {"QInt8Storage", "torch.qint8", 1},
    {"QUInt8Storage", "torch.quint8", 1},
    {"QInt32Storage", "torch.qint32", 4},
    {"QUInt4x2Storage", "torch.quint4x2", 1},
    {"QUInt2x4Storage", "torch.quint2x4", 1},
    {"", "torch.complex32", 4},
    {"", "torch.uint16", 2},
    {"", "torch.uint32", 4},
    {"", "torch.uint64", 8},
    {"", "torch.float8_e4m3fn", 1},
    {"", "torch.float8_e4m3fnuz", 1},
    {"", "torch.float8_e5m2", 1},
    {"", "torch.float8_e5m2fnuz", 1},
    {"", "torch.float8_e8m0fnu", 1},
    {"", "torch.float4_e2m1fn_x2", 1},
};

}  // namespace

const PthType* pth_storage_type(std::string_view storage_class) {
  if (storage_class.substr(0, 6) != "torch.") return nullptr;
  const std::string_view last = storage_class.substr(storage_class.rfind('.') + 1);
  for (const PthType& type : kPthTypes)
    if (!last.empty() && type.storage == last) return &type;
  return nullptr;
}

const PthType* pth_element_type(std::string_view name) {
  for (const PthType& type : kPthTypes)
    if (!name.empty() && type.name == name) return &type;
  return nullptr;
}

}  // namespace locant
