#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "io/dtype.h"
#include "io/pth.h"
#include "io/safetensors.h"
#include "tests/io/mutate.h"

namespace locant {
namespace foreign_types_test {

using testing::Bytes;
using testing::error_of;

const std::string kData = LOCANT_TEST_DATA "/io/";

void expect_other(const TensorFile& file, const std::string& name, const std::string& type,
                  const Shape& shape, std::uint64_t bytes) {
  SCOPED_TRACE(file.path() + ": " + name);
  const TensorInfo* info = file.find(name);
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->dtype, DType::other);
  EXPECT_EQ(dtype_name(*info), type);
  EXPECT_EQ(info->shape, shape);
  EXPECT_EQ(info->bytes, bytes);
  EXPECT_NE(error_of([&] { file.read(name); })
                .find("tensor \"" + name + "\" is " + type +
                      ", whose numbers are not read; save it as a plain float32 tensor"),
            std::string::npos);
  file.release(name);
}

void expect_w(const TensorFile& file) {
  const Tensor w = file.read("w");
  EXPECT_EQ(w.shape(), (Shape{2, 3}));
  EXPECT_EQ(w[5], 1.25f);
  file.release("w");
}

TEST(ForeignTypes, DoNotStopAPth) {
  for (const char* name : {"foreign_types.pth", "foreign_types_legacy.pth"}) {
    const auto file = open_tensor_file(kData + name);
    EXPECT_EQ(file->tensors().size(), 10u);
    EXPECT_TRUE(file->notes().empty());
    expect_other(*file, "sparse_coo", "torch.sparse_coo", {2, 3}, 0);
    expect_other(*file, "sparse_csr", "torch.sparse_csr", {2, 3}, 0);
    expect_other(*file, "quantised", "torch.quint8", {2, 3}, 6);
    expect_other(*file, "nested", "torch.nested", {}, 0);
    expect_other(*file, "complex", "torch.complex64", {2, 2}, 32);
    expect_other(*file, "float8", "torch.float8_e5m2", {4}, 4);
    expect_other(*file, "uint16", "torch.uint16", {3}, 6);
    expect_other(*file, "meta", "torch.float32 without data", {2, 5}, 0);
    expect_other(*file, "nine_axes", "F32 with 9 axes", {}, 24);
    expect_w(*file);
  }
}

TEST(ForeignTypes, DoNotStopSafetensors) {
  const auto file = open_tensor_file(kData + "foreign_types.safetensors");
  EXPECT_EQ(file->tensors().size(), 5u);
  expect_other(*file, "complex", "C64", {2, 2}, 32);
  expect_other(*file, "float8", "F8_E5M2", {4}, 4);
  expect_other(*file, "uint16", "U16", {3}, 6);
  expect_other(*file, "nine_axes", "F32 with 9 axes", {}, 24);
  expect_w(*file);
}

/// A safetensors file of a header (as it stands) and that many zero bytes.
std::unique_ptr<TensorFile> parse_header(const std::string& header, std::size_t data_bytes) {
  static Bytes bytes;
  std::string text(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(text.data(), &length, 8);
  bytes = testing::bytes_of(text + header + std::string(data_bytes, '\0'));
  return parse_safetensors(bytes, "header");
}

TEST(ForeignTypes, TakeTheBytesThatTheyMust) {
  const auto one = [](const char* type, const char* shape, int end) {
    return fmt::format(R"({{"a":{{"dtype":"{}","shape":{},"data_offsets":[0,{}]}}}})", type, shape, end);
  };
  struct Size {
    const char* type;
    int bytes_of_eight;
  };
  for (const Size& size :
       {Size{"U16", 16}, Size{"U32", 32}, Size{"U64", 64}, Size{"C64", 64}, Size{"C128", 128},
        Size{"F8_E4M3", 8}, Size{"F8_E5M2", 8}, Size{"F8_E8M0", 8}, Size{"F6_E2M3", 6}, Size{"F4", 4}}) {
    SCOPED_TRACE(size.type);
    const auto n = static_cast<std::size_t>(size.bytes_of_eight);
    expect_other(*parse_header(one(size.type, "[2,4]", size.bytes_of_eight), n), "a", size.type, {2, 4}, n);
    EXPECT_NE(error_of([&] { parse_header(one(size.type, "[2,5]", size.bytes_of_eight), n); }).find("takes"),
              std::string::npos);
  }
  EXPECT_NE(error_of([&] { parse_header(one("F4", "[3]", 2), 2); }).find("12 bits"), std::string::npos);
  expect_other(*parse_header(one("Q5_K", "[7,3]", 11), 11), "a", "Q5_K", {7, 3}, 11);
  EXPECT_NE(error_of([&] { parse_header(one("Q5_K", "[7,3]", 11), 12); }).find("11 bytes, but 12"),
            std::string::npos)
      << "the bytes of an unknown type count in the cover";
  EXPECT_NE(error_of([&] { parse_header(one(std::string(41, 'x').c_str(), "[]", 1), 1); }).find("41 char"),
            std::string::npos);
  expect_other(*parse_header(one("I8", "[1,1,1,2,1,1,1]", 2), 2), "a", "I8 with 7 axes", {}, 2);
}

TEST(ForeignTypes, TellsFloatsFromIntegers) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64}) EXPECT_TRUE(is_float(dtype));
  for (const DType dtype :
       {DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::boolean, DType::other})
    EXPECT_FALSE(is_float(dtype));
  EXPECT_EQ(dtype_size(DType::other), 0);
  EXPECT_EQ(parse_dtype("OTHER"), std::nullopt);
}

TEST(ForeignTypes, SurviveChangedBytes) {
  const auto parse = [](std::span<const std::byte> bytes) { return parse_pth(bytes, "hostile.pth"); };
  std::uint64_t seed = 77;
  for (const char* name : {"foreign_types.pth", "foreign_types_legacy.pth"}) {
    const int fine = testing::flip_bytes(parse, testing::read_bytes(kData + name), 1500, seed++);
    EXPECT_GT(fine, 0);
    EXPECT_LT(fine, 1500);
  }
}

}  // namespace foreign_types_test
}  // namespace locant
